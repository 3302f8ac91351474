// Recognises a file by its name and first bytes, before it is uploaded. The server
// examines the whole file.
const formats = [
  { name: "mp4", begins: [[4, "ftyp"], [4, "moov"], [4, "mdat"], [4, "free"], [4, "skip"], [4, "wide"]] },
  { name: "webm", begins: [[0, "\x1aE\xdf\xa3"]] },
  { name: "zip", begins: [[0, "PK\x03\x04"], [0, "PK\x05\x06"]] },
  { name: "gz", begins: [[0, "\x1f\x8b"]] },
  { name: "xz", begins: [[0, "\xfd7zXZ\0"]] },
  { name: "tar", begins: [[257, "ustar"]] },
];
const looked = 262; // the last mark, that of tar, ends there

// problem returns why a file is not one of those that accept lists, as its extensions;
// empty when it may be.
export async function problem(file, accept) {
  const ends = accept.split(",").filter((one) => one.startsWith("."));
  const list = ends.join(", ").replace(/, ([^,]*)$/, " or $1");
  const end = /\.[^.]*$/.exec(file.name)?.[0].toLowerCase();
  if (end && !ends.includes(end)) return `A file named ${end} can't be used here. Choose a ${list} file.`;
  let head;
  try {
    head = String.fromCharCode(...new Uint8Array(await file.slice(0, looked).arrayBuffer()));
  } catch {
    return "The file can't be read. Choose it again.";
  }
  const format = formats.find(({ begins }) => begins.some(([at, mark]) => head.startsWith(mark, at)));
  if (format ? ends.includes(`.${format.name}`) : end === ".tar") return ""; // old tar files have no mark
  return `The contents of this file are not those of a ${list} file. Choose another one.`;
}

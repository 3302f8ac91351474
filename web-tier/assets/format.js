// Detects a file's format by its name and first bytes before the upload. The server
// examines the whole file.
const formats = [
  { name: "mp4", signatures: [[4, "ftyp"], [4, "moov"], [4, "mdat"], [4, "free"], [4, "skip"], [4, "wide"]] },
  { name: "webm", signatures: [[0, "\x1aE\xdf\xa3"]] },
  { name: "zip", signatures: [[0, "PK\x03\x04"], [0, "PK\x05\x06"]] },
  { name: "gz", signatures: [[0, "\x1f\x8b"]] },
  { name: "xz", signatures: [[0, "\xfd7zXZ\0"]] },
  { name: "tar", signatures: [[257, "ustar"]] },
];
const headSize = 262; // where the last signature, that of tar, ends

// formatError returns why a file has none of the formats in accept, a list of
// extensions. It returns an empty string if the file may be acceptable.
export async function formatError(file, accept) {
  const extensions = accept.split(",").filter((item) => item.startsWith("."));
  const list = extensions.join(", ").replace(/, ([^,]*)$/, " or $1");
  const extension = /\.[^.]*$/.exec(file.name)?.[0].toLowerCase();
  if (extension && !extensions.includes(extension)) return `A file named ${extension} can't be used here. Choose a ${list} file.`;
  let head;
  try {
    head = String.fromCharCode(...new Uint8Array(await file.slice(0, headSize).arrayBuffer()));
  } catch {
    return "The file can't be read. Choose it again.";
  }
  const format = formats.find(({ signatures }) => signatures.some(([offset, bytes]) => head.startsWith(bytes, offset)));
  if (format ? extensions.includes(`.${format.name}`) : extension === ".tar") return ""; // old tar files have no signature
  return `The contents of this file are not those of a ${list} file. Choose another file.`;
}

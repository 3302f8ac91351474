// The tus protocol, as far as a page needs it: https://tus.io/protocols/resumable-upload
const version = "1.0.0";

// Refused is an answer that the same again would get again.
export class Refused extends Error {}

function headers(more) {
  return { "Tus-Resumable": version, ...more };
}

function encoded(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

// Busy or broken for the moment; what else is refused stays refused.
const passing = [408, 409, 423];

function check(status, text) {
  if (status === 401) throw new Refused("You are signed out. Sign in again in another tab, then choose the file once more.");
  if ((status >= 400 && status < 500 && !passing.includes(status)) || status === 507) throw new Refused(text.trim() || `The server answered ${status}.`);
  if (status >= 300 || status === 0) throw new Error(String(status));
}

// create begins an upload, and returns its address.
export async function create(file, signal) {
  const metadata = [["filename", file.name.slice(-255)], ["filetype", file.type]].filter(([, value]) => value);
  const answer = await fetch("/uploads", {
    method: "POST",
    signal,
    headers: headers({
      "Upload-Length": String(file.size),
      "Upload-Metadata": metadata.map(([key, value]) => `${key} ${encoded(value)}`).join(","),
    }),
  });
  check(answer.status, await answer.text());
  return new URL(answer.headers.get("Location"), location).pathname;
}

// find returns how far an upload is; null when it is not there any more.
export async function find(url, signal) {
  const answer = await fetch(url, { method: "HEAD", signal, headers: headers(), cache: "no-store" });
  if (answer.status === 404 || answer.status === 410) return null;
  check(answer.status, "");
  return { offset: Number(answer.headers.get("Upload-Offset")), size: Number(answer.headers.get("Upload-Length")) };
}

// send sends the rest of a file in one request. moved is told how far it is.
// fetch cannot tell, hence the older way.
export function send(file, url, offset, moved, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PATCH", url);
    for (const [name, value] of Object.entries(headers({ "Upload-Offset": String(offset), "Content-Type": "application/offset+octet-stream" }))) {
      request.setRequestHeader(name, value);
    }
    request.upload.addEventListener("progress", (event) => moved(offset + event.loaded));
    const stop = () => request.abort();
    signal.addEventListener("abort", stop);
    request.addEventListener("loadend", () => {
      signal.removeEventListener("abort", stop);
      try {
        if (request.status !== 404 && request.status !== 410) check(request.status, request.responseText);
        resolve();
      } catch (refused) {
        reject(refused);
      }
    });
    request.send(file.slice(offset));
  });
}

// remove removes an upload; should that fail, it expires.
export function remove(url) {
  fetch(url, { method: "DELETE", headers: headers(), keepalive: true }).catch(() => {});
}

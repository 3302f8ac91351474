// Implements what pages need of the tus protocol: https://tus.io/protocols/resumable-upload
const version = "1.0.0";

// Rejected is a response that a retry would not change.
export class Rejected extends Error {}

function headers(extra) {
  return { "Tus-Resumable": version, ...extra };
}

function base64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

// The 4xx statuses that are worth a retry.
const transientStatuses = [408, 409, 423];

function checkStatus(status, text) {
  if (status === 401) throw new Rejected("You are signed out. Sign in again in another tab, then choose the file again.");
  if ((status >= 400 && status < 500 && !transientStatuses.includes(status)) || status === 507) throw new Rejected(text.trim() || `The server rejected the upload (status ${status}).`);
  if (status >= 300 || status === 0) throw new Error(String(status));
}

// create creates an upload and returns its URL.
export async function create(file, signal) {
  const metadata = [["filename", file.name.slice(-255)], ["filetype", file.type]].filter(([, value]) => value);
  const response = await fetch("/uploads", {
    method: "POST",
    signal,
    headers: headers({
      "Upload-Length": String(file.size),
      "Upload-Metadata": metadata.map(([key, value]) => `${key} ${base64(value)}`).join(","),
    }),
  });
  checkStatus(response.status, await response.text());
  return new URL(response.headers.get("Location"), location).pathname;
}

// find returns an upload's offset and size, or null if it does not exist any more.
export async function find(url, signal) {
  const response = await fetch(url, { method: "HEAD", signal, headers: headers(), cache: "no-store" });
  if (response.status === 404 || response.status === 410) return null;
  checkStatus(response.status, "");
  return { offset: Number(response.headers.get("Upload-Offset")), size: Number(response.headers.get("Upload-Length")) };
}

// send sends the rest of a file in one request, and calls onProgress with the offset. It
// uses XMLHttpRequest because fetch does not report upload progress.
export function send(file, url, offset, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("PATCH", url);
    for (const [name, value] of Object.entries(headers({ "Upload-Offset": String(offset), "Content-Type": "application/offset+octet-stream" }))) {
      request.setRequestHeader(name, value);
    }
    request.upload.addEventListener("progress", (event) => onProgress(offset + event.loaded));
    const abort = () => request.abort();
    signal.addEventListener("abort", abort);
    request.addEventListener("loadend", () => {
      signal.removeEventListener("abort", abort);
      try {
        if (request.status !== 404 && request.status !== 410) checkStatus(request.status, request.responseText);
        resolve();
      } catch (error) {
        reject(error);
      }
    });
    request.send(file.slice(offset));
  });
}

// remove deletes an upload. If the request fails, the upload expires.
export function remove(url) {
  fetch(url, { method: "DELETE", headers: headers(), keepalive: true }).catch(() => {});
}

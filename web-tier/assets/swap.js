// A part of the page in the place of what it was, as the server makes it now.
import { localise } from "./page.js";

// read returns this page as it is now; null when the server does not give it.
export async function read() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "manual" });
  // Signed out, or no operator any more: the page says so itself.
  if (answer.type === "opaqueredirect" || answer.status === 403) location.reload();
  if (!answer.ok) return null;
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

// swap puts a part of another reading of this page in its place. What was
// scrolled stays where it was.
export function swap(id, page) {
  const old = document.getElementById(id);
  const fresh = page.getElementById(id);
  if (!old || !fresh) return fresh;
  const scrolled = [...old.querySelectorAll(".frame")].map((frame) => frame.scrollLeft);
  const made = document.adoptNode(fresh);
  localise(made);
  old.replaceWith(made);
  made.querySelectorAll(".frame").forEach((frame, i) => (frame.scrollLeft = scrolled[i] ?? 0));
  return made;
}

// Replaces parts of the page with versions that the server renders now.
import { localise } from "./page.js";

// fetchPage fetches this page again. It returns null if the server does not return it.
export async function fetchPage() {
  const response = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "manual" });
  // After a sign-out, or for an account that is no longer an operator, a reload shows
  // the right page.
  if (response.type === "opaqueredirect" || response.status === 403) location.reload();
  if (!response.ok) return null;
  return new DOMParser().parseFromString(await response.text(), "text/html");
}

// swap replaces the element with this id by the one in page, and keeps scroll
// positions.
export function swap(id, page) {
  const current = document.getElementById(id);
  const update = page.getElementById(id);
  if (!current || !update) return update;
  const positions = [...current.querySelectorAll(".frame")].map((frame) => frame.scrollLeft);
  const replacement = document.adoptNode(update);
  localise(replacement);
  current.replaceWith(replacement);
  replacement.querySelectorAll(".frame").forEach((frame, i) => (frame.scrollLeft = positions[i] ?? 0));
  return replacement;
}

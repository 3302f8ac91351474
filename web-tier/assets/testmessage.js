// Polls the progress of a test message until it is settled: fast at first, and slower
// while nothing changes.
import { fetchPage, swap } from "./swap.js";

const minInterval = 500;
const maxInterval = 5000;
let previous = "";

async function poll(interval) {
  let next = Math.min(1.4 * interval, maxInterval);
  if (document.visibilityState === "visible") {
    const page = await fetchPage().catch(() => null);
    const current = page?.getElementById("test")?.innerHTML;
    if (current && current !== previous) {
      previous = current;
      next = minInterval;
      if (swap("test", page).hasAttribute("data-settled")) return;
    }
  }
  setTimeout(() => poll(next), next);
}

setTimeout(() => poll(minInterval), minInterval);

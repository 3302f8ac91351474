// What becomes of a test message, looked at until it is settled: often at first,
// less and less while nothing happens.
import { read, swap } from "./swap.js";

const soon = 500;
const late = 5000;
let before = "";

async function look(pause) {
  let next = Math.min(1.4 * pause, late);
  if (document.visibilityState === "visible") {
    const page = await read().catch(() => null);
    const now = page?.getElementById("test")?.innerHTML;
    if (now && now !== before) {
      before = now;
      next = soon;
      if (swap("test", page).hasAttribute("data-settled")) return;
    }
  }
  setTimeout(() => look(next), next);
}

setTimeout(() => look(soon), soon);

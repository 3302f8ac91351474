// An operation, live: each event is the whole of it.
import { amount, left } from "./quantity.js";
import { localise } from "./page.js";

const box = document.getElementById("operation");
const part = (name) => box.querySelector(`[data-${name}]`);
const steps = document.getElementById("steps");
const looks = {
  STATE_WAITING: ["waiting", "Waiting"],
  STATE_RUNNING: ["running", "Running"],
  STATE_SUCCEEDED: ["succeeded", "Done"],
  STATE_FAILED: ["failed", "Failed"],
  STATE_CANCELLED: ["cancelled", "Cancelled"],
};
const longestPause = 30000;
let ends = null; // when it likely ends
let leaving = false; // a form is on its way, and leads here anyhow

function show(operation) {
  const about = operation.metadata;
  const [look, word] = looks[about.state] ?? looks.STATE_WAITING;
  part("state").textContent = about.cancel_requested && !operation.done ? "Stopping" : word;
  part("state").className = `state ${look}`;
  part("percent").textContent = `${about.percent} %`;
  const bar = box.querySelector("progress");
  bar.value = about.percent;
  bar.className = `bar ${look}`;
  const done = Number(about.done_count);
  const total = Number(about.total_count);
  part("amount").textContent = done || total ? amount(done, total, about.unit) : "";
  if (about.start_time) part("waiting")?.remove();
  if (about.cancel_requested) box.querySelector("button").disabled = true;
  ends = look === "running" && about.estimated_end_time ? Date.parse(about.estimated_end_time) : null;
  count();
  list(about.steps);
}

function count() {
  part("left").textContent = ends ? left(Math.max(0, ends - Date.now())) : "";
}

// The list is at most a hundred long, and of more it has the latest.
function list(all) {
  const last = all.at(-1);
  if (!last || (steps.children.length === all.length && steps.lastElementChild.dataset.time === last.time)) return;
  steps.replaceChildren(...all.map(({ time, text }) => {
    const item = document.createElement("li");
    item.dataset.time = time;
    const when = document.createElement("time");
    when.dateTime = time;
    when.dataset.clock = "";
    const what = document.createElement("span");
    what.textContent = text;
    what.dir = "auto";
    item.append(when, " ", what);
    return item;
  }));
  localise(steps);
  document.getElementById("no-steps")?.remove();
  part("said").textContent = last.text;
}

// follow goes on from where the page is; the browser comes back by itself from
// all but a refusal.
function follow(after, pause) {
  let cursor = after;
  const stream = new EventSource(`/${box.dataset.name}/stream?after=${encodeURIComponent(cursor)}`);
  stream.addEventListener("operation", (event) => {
    pause = 1000;
    cursor = event.lastEventId || cursor;
    const operation = JSON.parse(event.data);
    show(operation);
    if (!operation.done) return;
    stream.close();
    // The server knows how to show what came of it.
    if (!leaving) location.reload();
  });
  stream.addEventListener("error", () => {
    if (stream.readyState !== EventSource.CLOSED) return;
    setTimeout(() => follow(cursor, Math.min(2 * pause, longestPause)), pause + Math.random() * pause);
  });
  addEventListener("pagehide", () => stream.close(), { once: true });
}

if (box) {
  box.addEventListener("submit", () => (leaving = true));
  follow(box.dataset.cursor, 1000);
  setInterval(count, 1000);
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
}

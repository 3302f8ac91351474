// Updates an operation live. Each event is the whole operation.
import { progress, remaining } from "./quantity.js";
import { localise } from "./page.js";

const box = document.getElementById("operation");
const part = (name) => box.querySelector(`[data-${name}]`);
const steps = document.getElementById("steps");
const states = {
  STATE_WAITING: ["waiting", "Waiting"],
  STATE_RUNNING: ["running", "Running"],
  STATE_SUCCEEDED: ["succeeded", "Done"],
  STATE_FAILED: ["failed", "Failed"],
  STATE_CANCELLED: ["cancelled", "Cancelled"],
};
const maxDelay = 30000;
let expectedEnd = null;
let submitting = false; // a submitted form is about to load the page again

function show(operation) {
  const metadata = operation.metadata;
  const [className, label] = states[metadata.state] ?? states.STATE_WAITING;
  part("state").textContent = metadata.cancel_requested && !operation.done ? "Cancelling" : label;
  part("state").className = `state ${className}`;
  part("percent").textContent = `${metadata.percent} %`;
  const bar = box.querySelector("progress");
  bar.value = metadata.percent;
  bar.className = `bar ${className}`;
  const done = Number(metadata.done_count);
  const total = Number(metadata.total_count);
  part("amount").textContent = done || total ? progress(done, total, metadata.unit) : "";
  if (metadata.start_time) part("waiting")?.remove();
  if (metadata.cancel_requested) box.querySelector("button").disabled = true;
  expectedEnd = className === "running" && metadata.estimated_end_time ? Date.parse(metadata.estimated_end_time) : null;
  showRemaining();
  showSteps(metadata.steps);
}

function showRemaining() {
  part("left").textContent = expectedEnd ? remaining(Math.max(0, expectedEnd - Date.now())) : "";
}

// showSteps receives at most the hundred latest steps.
function showSteps(latest) {
  const last = latest.at(-1);
  if (!last || (steps.children.length === latest.length && steps.lastElementChild.dataset.time === last.time)) return;
  steps.replaceChildren(...latest.map((step) => {
    const item = document.createElement("li");
    item.dataset.time = step.time;
    const time = document.createElement("time");
    time.dateTime = step.time;
    time.dataset.clock = "";
    const text = document.createElement("span");
    text.textContent = step.text;
    text.dir = "auto";
    item.append(time, " ", text);
    return item;
  }));
  localise(steps);
  document.getElementById("no-steps")?.remove();
  part("said").textContent = last.text;
}

// follow streams events from the page's cursor. The browser reconnects by itself unless
// the server rejects the request; follow then retries with a growing delay.
function follow(after, delay) {
  let cursor = after;
  const stream = new EventSource(`/${box.dataset.name}/stream?after=${encodeURIComponent(cursor)}`);
  stream.addEventListener("operation", (event) => {
    delay = 1000;
    cursor = event.lastEventId || cursor;
    const operation = JSON.parse(event.data);
    show(operation);
    if (!operation.done) return;
    stream.close();
    // The server renders the result.
    if (!submitting) location.reload();
  });
  stream.addEventListener("error", () => {
    if (stream.readyState !== EventSource.CLOSED) return;
    setTimeout(() => follow(cursor, Math.min(2 * delay, maxDelay)), delay + Math.random() * delay);
  });
  addEventListener("pagehide", () => stream.close(), { once: true });
}

if (box) {
  box.addEventListener("submit", () => (submitting = true));
  follow(box.dataset.cursor, 1000);
  setInterval(showRemaining, 1000);
  addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
}

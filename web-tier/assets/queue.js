// Updates the message queue live. Each event is a whole snapshot. While the topology
// stays the same, only the numbers are updated in place; otherwise the server renders
// the page again.
import { localise } from "./page.js";
import { fetchPage, swap } from "./swap.js";

const staleAfter = 5000; // without an event
const maxDelay = 30000;
const noValue = "–";
const numbers = new Intl.NumberFormat("en");

// The same thresholds and labels are in pages/queue.
const backlogThreshold = 20;
const growthFactor = 1.1;

function status(q) {
  const waiting = q.ready + q.delayed + q.unacked;
  if (!q.consumers.length) return [waiting > 0 ? "bad" : "warn", "No consumer"];
  if (q.ready > backlogThreshold && q.in > growthFactor * q.out) return ["warn", "Backlog growing"];
  if (q.unacked > 0 || q.out > 0) return ["live", "Active"];
  if (q.ready > 0) return ["warn", "Waiting"];
  if (q.delayed > 0) return ["calm", "Delayed"];
  return ["calm", "Empty"];
}

const number = (n) => numbers.format(n);

// compact formats a number in at most five characters.
function compact(n) {
  if (n < 10000) return number(n);
  let unit = "";
  for (unit of ["k", "M", "G", "T"]) {
    n /= 1000;
    if (n < 999.5) break;
  }
  return (n < 99.95 ? n.toFixed(1) : String(Math.round(n))) + unit;
}

function rate(r) {
  if (!(r > 0)) return "0"; // also NaN
  if (r < 0.05) return "<0.1";
  return r < 99.95 ? r.toFixed(1) : number(Math.round(r));
}

const compactRate = (r) => (r >= 9999.5 ? compact(Math.round(r)) : rate(r));

function age(now, time) {
  if (!time) return noValue;
  const seconds = (Date.parse(now) - Date.parse(time)) / 1000;
  if (seconds < 1) return "<1 s";
  if (seconds < 100) return `${Math.floor(seconds)} s`;
  if (seconds < 6000) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

// shape describes everything on the page except the numbers. The server builds the same
// text.
function shape(s) {
  const lines = [[s.engine]];
  for (const e of s.exchanges) lines.push(["exchange", e.name, e.type, [...e.producers].sort().join(","), e.test]);
  for (const b of s.bindings) lines.push(["binding", b.exchange, b.queue, b.pattern]);
  for (const q of s.queues) {
    lines.push(["queue", q.name, q.exclusive, q.delivery_limit, q.test]);
    for (const c of q.consumers) lines.push(["consumer", q.name, c.process, c.host, c.prefetch, c.concurrency]);
  }
  return lines.map((line) => line.join(" ")).sort().join("\n");
}

function setText(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

function setFact(name, text) {
  setText(document.querySelector(`[data-fact="${name}"]`), text);
}

function redelivered(q) {
  return number(Number(q.redelivered_count)) + (q.redelivery_rate > 0 ? ` · ${rate(q.redelivery_rate)}/s` : "");
}

function deadLetterLabel(n) {
  if (n === 0) return "";
  return n === 1 ? "1 dead letter" : `${compact(n)} dead letters`;
}

function showQueue(s, queue) {
  const q = {
    consumers: queue.consumers, ready: Number(queue.ready_count), delayed: Number(queue.delayed_count),
    unacked: Number(queue.unacknowledged_count), in: queue.in_rate, out: queue.out_rate,
  };
  const [tone, label] = status(q);
  const deadLetters = Number(queue.dead_letter_count);
  const counts = { ready: q.ready, delayed: q.delayed, unacked: q.unacked };
  const rates = { "in/s": q.in, "out/s": q.out };
  const texts = { standing: label, oldest: age(s.time, queue.oldest_publish_time), redelivered: redelivered(queue), dead: deadLetterLabel(deadLetters), "dead letters": number(deadLetters) };
  for (const root of document.querySelectorAll(`[data-queue="${CSS.escape(queue.name)}"]`)) {
    root.dataset.tone = tone;
    for (const element of root.querySelectorAll("[data-field]")) {
      const name = element.dataset.field;
      const short = "short" in element.dataset;
      if (name in counts) setText(element, (short ? compact : number)(counts[name]));
      else if (name in rates) setText(element, (short ? compactRate : rate)(rates[name]));
      else setText(element, texts[name]);
    }
    for (const c of queue.consumers) {
      const item = root.querySelector(`[data-consumer="${CSS.escape(c.process)}"]`);
      setText(item?.querySelector('[data-consumer-field="held"]'), number(c.held_count));
      setText(item?.querySelector('[data-consumer-field="done"]'), number(Number(c.acknowledged_count)));
    }
  }
}

function showFacts(s) {
  const sum = (field) => number(s.queues.reduce((total, q) => total + Number(q[field]), 0));
  setFact("ready", sum("ready_count"));
  setFact("unacked", sum("unacknowledged_count"));
  setFact("dead letters", sum("dead_letter_count"));
  setFact("unroutable", number(Number(s.unroutable_count)));
  setFact("broker", s.broker_up ? "up" : "down");
  setFact("outbox", number(Number(s.outbox_count)));
  setFact("outbox oldest", age(s.time, s.outbox_oldest_publish_time));
  setFact("problem", s.broker_problem);
  document.querySelector("[data-broker]").hidden = s.broker_up;
  const time = document.querySelector('[data-fact="time"]');
  time.dateTime = s.time;
  localise(time.parentElement);
}

let rendering = false; // the server is rendering the page again

async function show(s) {
  markLive();
  if (shape(s) === document.getElementById("queues").dataset.shape) {
    showFacts(s);
    for (const q of s.queues) showQueue(s, q);
    return;
  }
  if (rendering) return;
  rendering = true;
  try {
    const page = await fetchPage();
    if (page) {
      swap("queues", page);
      swap("tests", page);
    }
  } catch {
    // The next event tries again.
  } finally {
    rendering = false;
  }
}

let staleTimer;

// markLive shows the numbers as live until no event has arrived for a while.
function markLive() {
  clearTimeout(staleTimer);
  staleTimer = setTimeout(() => {
    document.getElementById("queues").classList.add("stopped");
    setText(document.querySelector("[data-stopped]"), "These numbers are not live. Reconnecting…");
  }, staleAfter);
  document.getElementById("queues").classList.remove("stopped");
  setText(document.querySelector("[data-stopped]"), "");
}

// follow streams snapshots until the page is left. The browser reconnects by itself unless
// the server rejects the request; follow then retries with a growing delay.
function follow(delay) {
  const stream = new EventSource("/queue/stream");
  stream.addEventListener("snapshot", (event) => {
    delay = 1000;
    show(JSON.parse(event.data));
  });
  stream.addEventListener("error", () => {
    if (stream.readyState !== EventSource.CLOSED) return;
    fetchPage().catch(() => null); // reloads the page if the account is not an operator any more
    setTimeout(() => follow(Math.min(2 * delay, maxDelay)), delay + Math.random() * delay);
  });
  addEventListener("pagehide", () => stream.close(), { once: true });
}

markLive();
follow(1000);
addEventListener("pageshow", (event) => {
  if (event.persisted) follow(1000);
});

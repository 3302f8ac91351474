// The message queue, live: each event is the whole of it. While the same is drawn
// and listed, only numbers change, in their places; otherwise the server draws it.
import { localise } from "./page.js";
import { read, swap } from "./swap.js";

const quiet = 5000; // without an event for so long it is not live
const longestPause = 30000;
const none = "–";
const numbers = new Intl.NumberFormat("en");

// The labels and thresholds of pages/queue/status.go.
const backlog = 20;
const growth = 1.1;

function stands(q) {
  const waiting = q.ready + q.delayed + q.unacked;
  if (!q.consumers.length) return [waiting > 0 ? "bad" : "warn", "No consumer"];
  if (q.ready > backlog && q.in > growth * q.out) return ["warn", "Backlog growing"];
  if (q.unacked > 0 || q.out > 0) return ["live", "Active"];
  if (q.ready > 0) return ["warn", "Waiting"];
  if (q.delayed > 0) return ["calm", "Delayed"];
  return ["calm", "Empty"];
}

const full = (n) => numbers.format(n);

function short(n) {
  if (n < 10000) return full(n);
  let unit = "";
  for (unit of ["k", "M", "G", "T"]) {
    n /= 1000;
    if (n < 999.5) break;
  }
  return (n < 99.95 ? n.toFixed(1) : String(Math.round(n))) + unit;
}

function rate(r) {
  if (!(r > 0)) return "0";
  if (r < 0.05) return "<0.1";
  return r < 99.95 ? r.toFixed(1) : full(Math.round(r));
}

const shortRate = (r) => (r >= 9999.5 ? short(Math.round(r)) : rate(r));

function age(now, of) {
  if (!of) return none;
  const seconds = (Date.parse(now) - Date.parse(of)) / 1000;
  if (seconds < 1) return "<1 s";
  if (seconds < 100) return `${Math.floor(seconds)} s`;
  if (seconds < 6000) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

// shape is the text that the server makes of the same.
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

function put(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

function fact(name, text) {
  put(document.querySelector(`[data-fact="${name}"]`), text);
}

function redelivered(q) {
  return full(Number(q.redelivered_count)) + (q.redelivery_rate > 0 ? ` · ${rate(q.redelivery_rate)}/s` : "");
}

function dead(n) {
  if (n === 0) return "";
  return n === 1 ? "1 dead letter" : `${short(n)} dead letters`;
}

function showQueue(s, said) {
  const q = {
    consumers: said.consumers, ready: Number(said.ready_count), delayed: Number(said.delayed_count),
    unacked: Number(said.unacknowledged_count), in: said.in_rate, out: said.out_rate,
  };
  const [tone, word] = stands(q);
  const letters = Number(said.dead_letter_count);
  const counts = { ready: q.ready, delayed: q.delayed, unacked: q.unacked };
  const rates = { "in/s": q.in, "out/s": q.out };
  const texts = { standing: word, oldest: age(s.time, said.oldest_publish_time), redelivered: redelivered(said), dead: dead(letters), "dead letters": full(letters) };
  for (const root of document.querySelectorAll(`[data-queue="${CSS.escape(said.name)}"]`)) {
    root.dataset.tone = tone;
    for (const element of root.querySelectorAll("[data-field]")) {
      const name = element.dataset.field;
      const brief = "short" in element.dataset;
      if (name in counts) put(element, (brief ? short : full)(counts[name]));
      else if (name in rates) put(element, (brief ? shortRate : rate)(rates[name]));
      else put(element, texts[name]);
    }
    for (const c of said.consumers) {
      const item = root.querySelector(`[data-consumer="${CSS.escape(c.process)}"]`);
      put(item?.querySelector('[data-consumer-field="held"]'), full(c.held_count));
      put(item?.querySelector('[data-consumer-field="done"]'), full(Number(c.acknowledged_count)));
    }
  }
}

function showFacts(s) {
  const sum = (field) => full(s.queues.reduce((all, q) => all + Number(q[field]), 0));
  fact("ready", sum("ready_count"));
  fact("unacked", sum("unacknowledged_count"));
  fact("dead letters", sum("dead_letter_count"));
  fact("unroutable", full(Number(s.unroutable_count)));
  fact("broker", s.broker_up ? "up" : "down");
  fact("outbox", full(Number(s.outbox_count)));
  fact("outbox oldest", age(s.time, s.outbox_oldest_publish_time));
  fact("problem", s.broker_problem);
  document.querySelector("[data-broker]").hidden = s.broker_up;
  const time = document.querySelector('[data-fact="time"]');
  time.dateTime = s.time;
  localise(time.parentElement);
}

let drawing = false; // the server is asked to

async function show(s) {
  live();
  if (shape(s) === document.getElementById("queues").dataset.shape) {
    showFacts(s);
    for (const q of s.queues) showQueue(s, q);
    return;
  }
  if (drawing) return;
  drawing = true;
  try {
    const page = await read();
    if (page) {
      swap("queues", page);
      swap("tests", page);
    }
  } catch {
    // Not just now; the next event asks again.
  } finally {
    drawing = false;
  }
}

let silence;

// live says that the numbers are those of now, for a while.
function live() {
  clearTimeout(silence);
  silence = setTimeout(() => {
    document.getElementById("queues").classList.add("stopped");
    put(document.querySelector("[data-stopped]"), "These numbers are not live just now. Trying again.");
  }, quiet);
  document.getElementById("queues").classList.remove("stopped");
  put(document.querySelector("[data-stopped]"), "");
}

// follow goes on until the page is left; the browser comes back by itself from all
// but a refusal.
function follow(pause) {
  const stream = new EventSource("/queue/stream");
  stream.addEventListener("snapshot", (event) => {
    pause = 1000;
    show(JSON.parse(event.data));
  });
  stream.addEventListener("error", () => {
    if (stream.readyState !== EventSource.CLOSED) return;
    read().catch(() => null); // it may be that who looks may not any more
    setTimeout(() => follow(Math.min(2 * pause, longestPause)), pause + Math.random() * pause);
  });
  addEventListener("pagehide", () => stream.close(), { once: true });
}

live();
follow(1000);
addEventListener("pageshow", (event) => {
  if (event.persisted) follow(1000);
});

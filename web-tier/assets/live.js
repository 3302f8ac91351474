// The bell, the toasts and the inbox, live. All tabs of a browser share one
// stream: the tab that holds the lock has it and tells the others; when it is
// closed, the next one goes on from the last event.
const channel = new BroadcastChannel("techtalks-inbox");
const bell = document.getElementById("bell-count");
const toasts = document.getElementById("toasts");
const list = document.getElementById("inbox");

let cursor = document.body.dataset.inboxCursor;
let unread = Number(document.body.dataset.inboxUnread);
const shownAtOnce = 3;
const shownFor = 8000;

// A cursor is "<epoch>-<sequence>"; sequences are compared as numbers.
function after(id, other) {
  const [epoch, sequence] = id.split("-");
  const [otherEpoch, otherSequence] = other.split("-");
  return epoch !== otherEpoch || BigInt(sequence) > BigInt(otherSequence);
}

function ring() {
  bell.textContent = unread >= 100 ? "99+" : String(unread);
  bell.hidden = unread === 0;
}

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) {
    made.textContent = text;
    made.dir = "auto";
  }
  return made;
}

function link(path, className, text) {
  const made = element("a", className, text);
  made.href = "/" + path.split("/").map(encodeURIComponent).join("/");
  return made;
}

function toast(notification) {
  const box = element("div", "toast");
  if (notification.operation) {
    box.classList.add(outcome(notification).look);
    box.append(element("span", "from", outcome(notification).word), link(notification.operation, "", notification.title));
  } else {
    box.append(link(notification.channel, "from", notification.channel_title), link(notification.talk, "", notification.title));
  }
  toasts.append(box);
  while (toasts.children.length > shownAtOnce) toasts.firstChild.remove();
  setTimeout(() => box.remove(), shownFor);
}

// outcome is what became of an operation.
function outcome(notification) {
  return notification.failed ? { look: "failed", word: "Failed" } : { look: "succeeded", word: "Done" };
}

function insert(notification) {
  const template = document.getElementById(notification.operation ? "inbox-operation" : "inbox-item");
  const item = template.content.firstElementChild.cloneNode(true);
  item.dataset.id = notification.id;
  const title = item.querySelector("[data-title]");
  title.textContent = notification.title;
  title.href = link(notification.operation || notification.talk).href;
  if (notification.operation) {
    const { look, word } = outcome(notification);
    const state = item.querySelector("[data-state]");
    state.textContent = word;
    state.className = `state ${look}`;
    item.classList.toggle("failed", notification.failed);
  } else {
    const from = item.querySelector("[data-channel]");
    from.textContent = notification.channel_title;
    from.href = link(notification.channel).href;
  }
  const time = item.querySelector("time");
  time.dateTime = notification.publish_time;
  time.textContent = new Date(notification.publish_time).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  item.querySelector("input[name=id]").value = notification.id;
  list.prepend(item);
  const newest = document.querySelector("input[name=through]");
  if (newest) newest.value = notification.id;
  document.getElementById("inbox-empty")?.remove();
  document.getElementById("inbox-all")?.removeAttribute("hidden");
}

// Every tab sees every event once: those up to its own cursor it has already.
function arrive(id, notification) {
  if (!after(id, cursor)) return;
  cursor = id;
  unread = Math.min(unread + 1, 100);
  ring();
  if (list) insert(notification);
  else toast(notification);
}

// The inbox is another one than this page's: read it anew.
async function reset(to) {
  cursor = to;
  if (list) {
    location.reload();
    return;
  }
  const answer = await fetch("/inbox", { headers: { Accept: "text/html" } });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  unread = Number(page.body.dataset.inboxUnread ?? 0);
  cursor = page.body.dataset.inboxCursor ?? to;
  ring();
}

function handle(message) {
  if (message.type === "notification") arrive(message.id, message.notification);
  else if (message.type === "reset") reset(message.id);
  else if (message.type === "read" && message.cursor === cursor) {
    unread = message.unread;
    ring();
  }
}

channel.addEventListener("message", (event) => handle(event.data));

function tell(message) {
  channel.postMessage(message);
  handle(message);
}

// A page that was loaded after something was read tells the others.
channel.postMessage({ type: "read", cursor, unread });

// follow has the stream until signal says to give it up, or until the person is
// signed out.
async function follow(signal) {
  for (let pause = 1000; !signal.aborted; pause = Math.min(2 * pause, 30000)) {
    await new Promise((refused) => {
      const stream = new EventSource("/inbox/stream?after=" + encodeURIComponent(cursor));
      const close = () => {
        stream.close();
        refused();
      };
      signal.addEventListener("abort", close);
      stream.addEventListener("open", () => (pause = 1000));
      stream.addEventListener("notification", (event) =>
        tell({ type: "notification", id: event.lastEventId, notification: JSON.parse(event.data) }));
      stream.addEventListener("reset", (event) => tell({ type: "reset", id: event.lastEventId }));
      stream.addEventListener("error", () => {
        // The browser connects anew by itself, unless it was refused.
        if (stream.readyState === EventSource.CLOSED) close();
      });
    });
    if (signal.aborted || (await signedOut())) return;
    // No web tier for the moment.
    await new Promise((resolve) => {
      setTimeout(resolve, pause + Math.random() * pause);
      signal.addEventListener("abort", resolve);
    });
  }
}

// Whoever is signed out is sent to sign in.
async function signedOut() {
  try {
    const answer = await fetch("/inbox", { redirect: "manual" });
    return answer.type === "opaqueredirect";
  } catch {
    return false;
  }
}

let leave = new AbortController();

// take asks for the stream, for as long as this page is the browser's.
function take() {
  leave.abort();
  leave = new AbortController();
  const signal = leave.signal;
  if (navigator.locks) {
    // Given up while it waits, the request is refused: as it should be.
    navigator.locks.request("techtalks-inbox", { signal }, () => follow(signal)).catch(() => {});
  } else if (document.visibilityState === "visible") {
    // Without TLS, off this machine, a browser has no locks. Then a tab has a
    // stream while it is seen: a browser has only six connections for all of them.
    follow(signal);
  }
}

take();
if (!navigator.locks) document.addEventListener("visibilitychange", take);
// A page that a browser keeps for "back" would keep the stream too, and hear
// nothing. Shown again, it reads what it missed.
addEventListener("pagehide", () => leave.abort());
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  reset(cursor);
  take();
});

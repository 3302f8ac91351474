// Updates the bell, the toasts and the inbox. All tabs of a browser share one stream:
// the tab that holds the lock opens it and broadcasts events to the others. When that
// tab closes, another one resumes from the last event.
const channel = new BroadcastChannel("techtalks-inbox");
const bell = document.getElementById("bell-count");
const toasts = document.getElementById("toasts");
const list = document.getElementById("inbox");

let cursor = document.body.dataset.inboxCursor;
let unread = Number(document.body.dataset.inboxUnread);
const maxToasts = 3;
const toastDuration = 8000;

// isAfter compares cursors, which are "<epoch>-<sequence>". Sequences exceed the
// precision of a Number.
function isAfter(id, other) {
  const [epoch, sequence] = id.split("-");
  const [otherEpoch, otherSequence] = other.split("-");
  return epoch !== otherEpoch || BigInt(sequence) > BigInt(otherSequence);
}

function showUnread() {
  bell.textContent = unread >= 100 ? "99+" : String(unread);
  bell.hidden = unread === 0;
}

function createElement(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text) {
    element.textContent = text;
    element.dir = "auto";
  }
  return element;
}

function createLink(path, className, text) {
  const link = createElement("a", className, text);
  link.href = "/" + path.split("/").map(encodeURIComponent).join("/");
  return link;
}

function showToast(notification) {
  const toast = createElement("div", "toast");
  if (notification.operation) {
    const { className, label } = outcome(notification);
    toast.classList.add(className);
    toast.append(createElement("span", "from", label), createLink(notification.operation, "", notification.title));
  } else {
    toast.append(createLink(notification.channel, "from", notification.channel_title), createLink(notification.talk, "", notification.title));
  }
  toasts.append(toast);
  while (toasts.children.length > maxToasts) toasts.firstChild.remove();
  setTimeout(() => toast.remove(), toastDuration);
}

// outcome returns the class and label of a finished operation.
function outcome(notification) {
  return notification.failed ? { className: "failed", label: "Failed" } : { className: "succeeded", label: "Done" };
}

function insertItem(notification) {
  const template = document.getElementById(notification.operation ? "inbox-operation" : "inbox-item");
  const item = template.content.firstElementChild.cloneNode(true);
  item.dataset.id = notification.id;
  const title = item.querySelector("[data-title]");
  title.textContent = notification.title;
  title.href = createLink(notification.operation || notification.talk).href;
  if (notification.operation) {
    const { className, label } = outcome(notification);
    const state = item.querySelector("[data-state]");
    state.textContent = label;
    state.className = `state ${className}`;
    item.classList.toggle("failed", notification.failed);
  } else {
    const source = item.querySelector("[data-channel]");
    source.textContent = notification.channel_title;
    source.href = createLink(notification.channel).href;
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

// receive skips events up to this tab's own cursor, which the page shows already.
function receive(id, notification) {
  if (!isAfter(id, cursor)) return;
  cursor = id;
  unread = Math.min(unread + 1, 100);
  showUnread();
  if (list) insertItem(notification);
  else showToast(notification);
}

// reset reloads the inbox after the cursor has become invalid.
async function reset(newCursor) {
  cursor = newCursor;
  if (list) {
    location.reload();
    return;
  }
  const response = await fetch("/inbox", { headers: { Accept: "text/html" } });
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  unread = Number(page.body.dataset.inboxUnread ?? 0);
  cursor = page.body.dataset.inboxCursor ?? newCursor;
  showUnread();
}

function handle(message) {
  if (message.type === "notification") receive(message.id, message.notification);
  else if (message.type === "reset") reset(message.id);
  else if (message.type === "read" && message.cursor === cursor) {
    unread = message.unread;
    showUnread();
  }
}

channel.addEventListener("message", (event) => handle(event.data));

function broadcast(message) {
  channel.postMessage(message);
  handle(message);
}

// This page has the latest unread count; the other tabs may not.
channel.postMessage({ type: "read", cursor, unread });

// follow keeps the stream open until signal aborts or the user is signed out.
async function follow(signal) {
  for (let delay = 1000; !signal.aborted; delay = Math.min(2 * delay, 30000)) {
    await new Promise((resolve) => {
      const stream = new EventSource("/inbox/stream?after=" + encodeURIComponent(cursor));
      const close = () => {
        stream.close();
        resolve();
      };
      signal.addEventListener("abort", close);
      stream.addEventListener("open", () => (delay = 1000));
      stream.addEventListener("notification", (event) =>
        broadcast({ type: "notification", id: event.lastEventId, notification: JSON.parse(event.data) }));
      stream.addEventListener("reset", (event) => broadcast({ type: "reset", id: event.lastEventId }));
      stream.addEventListener("error", () => {
        // The browser reconnects by itself unless the server rejected the request.
        if (stream.readyState === EventSource.CLOSED) close();
      });
    });
    if (signal.aborted || (await isSignedOut())) return;
    // The web tier is unavailable.
    await new Promise((resolve) => {
      setTimeout(resolve, delay + Math.random() * delay);
      signal.addEventListener("abort", resolve);
    });
  }
}

// isSignedOut reports whether /inbox redirects to the sign-in page.
async function isSignedOut() {
  try {
    const response = await fetch("/inbox", { redirect: "manual" });
    return response.type === "opaqueredirect";
  } catch {
    return false;
  }
}

let controller = new AbortController();

// acquireStream requests the shared stream for this tab, until the page is hidden.
function acquireStream() {
  controller.abort();
  controller = new AbortController();
  const signal = controller.signal;
  if (navigator.locks) {
    // The request rejects if it is aborted while it waits for the lock.
    navigator.locks.request("techtalks-inbox", { signal }, () => follow(signal)).catch(() => {});
  } else if (document.visibilityState === "visible") {
    // Browsers offer locks only over TLS and on localhost. Without locks, only visible
    // tabs open a stream, since a browser has six connections to a host for all tabs.
    follow(signal);
  }
}

acquireStream();
if (!navigator.locks) document.addEventListener("visibilitychange", acquireStream);
// A page in the back/forward cache would keep the stream and receive nothing. It releases
// the stream, and reads what it missed when it is shown again.
addEventListener("pagehide", () => controller.abort());
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  reset(cursor);
  acquireStream();
});

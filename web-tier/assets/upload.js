// Uploads a file while its form is filled in. The upload resumes by itself after a network
// failure, and after the page was closed when the same file is chosen again on the same
// page. The form is submitted once the upload is complete.
import { progress, bytes, remaining } from "./quantity.js";
import { formatError } from "./format.js";
import * as tus from "./tus.js";

const minDelay = 1000;
const maxDelay = 30000;
const speedWindow = 5000; // the period over which the speed is averaged
const retention = 7 * 24 * 3600 * 1000; // as long as the server keeps incomplete uploads

// uploadStore returns the uploads of a page that are not used yet. It identifies files by
// name, size and modification time.
function uploadStore(page) {
  const prefix = `techtalks-upload:${page}:`;
  const key = (file) => `${prefix}${file.name}:${file.size}:${file.lastModified}`;
  return {
    get: (file) => JSON.parse(localStorage.getItem(key(file)) ?? "null")?.url,
    set(file, url) {
      try {
        localStorage.setItem(key(file), JSON.stringify({ url, name: file.name, size: file.size, at: Date.now() }));
      } catch {
        // Storage is full or disabled. The upload cannot resume after the page is closed.
      }
    },
    delete(url) {
      for (const entry of this.list()) if (entry.url === url) localStorage.removeItem(entry.key);
    },
    // list returns the uploads, latest first.
    list() {
      const entries = [];
      for (const key of Object.keys(localStorage)) {
        if (!key.startsWith(prefix)) continue;
        const entry = JSON.parse(localStorage.getItem(key));
        if (Date.now() - entry.at > retention) localStorage.removeItem(key);
        else entries.push({ key, ...entry });
      }
      return entries.sort((a, b) => b.at - a.at);
    },
  };
}

// speedometer returns a function from an offset to the bytes per second over the last few
// seconds.
function speedometer() {
  const samples = [];
  return (offset) => {
    const now = performance.now();
    samples.push([now, offset]);
    while (samples.length > 2 && now - samples[0][0] > speedWindow) samples.shift();
    const [startTime, startOffset] = samples[0];
    return now > startTime ? (1000 * (offset - startOffset)) / (now - startTime) : 0;
  };
}

// backOff waits for a delay, the return of the network, or signal.
function backOff(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    for (const [target, event] of [[window, "online"], [signal, "abort"]]) {
      target.addEventListener(event, () => (clearTimeout(timer), resolve()), { once: true });
    }
  });
}

function enhance(box) {
  const form = box.closest("form");
  const input = box.querySelector("input[type=file]");
  const field = box.querySelector("input[name=upload]");
  const sending = box.querySelector("[data-sending]");
  const part = (name) => box.querySelector(`[data-${name}]`);
  const store = uploadStore(new URL(form.action).pathname);
  let state = "none"; // none, interrupted, sending, failed or complete
  let url = "";
  let submitter = null; // the button that submits the form once the upload is complete
  let controller = new AbortController();

  input.removeAttribute("name"); // the form does not send the file
  box.classList.add("ready");

  function setState(next, label, error = "") {
    state = next;
    box.dataset.uploadState = next;
    sending.hidden = next === "none";
    part("state").textContent = label;
    part("wrong").textContent = error;
    part("wrong").hidden = !error;
    part("cancel").textContent = { interrupted: "Discard", complete: "Remove file", failed: "Continue without a file" }[next] ?? "Cancel upload";
    if (next !== "sending") part("speed").textContent = part("left").textContent = "";
  }

  function showProgress(name, offset, size) {
    part("name").textContent = name;
    part("amount").textContent = progress(offset, size, "bytes");
    sending.querySelector("progress").value = size ? (100 * offset) / size : 0;
  }

  function complete(name, size) {
    showProgress(name, size, size);
    field.value = url.slice(1);
    part("kept").hidden = true;
    setState("complete", "uploaded");
    if (submitter) form.requestSubmit(submitter);
  }

  async function upload(file) {
    controller.abort();
    controller = new AbortController();
    const signal = controller.signal;
    url = store.get(file) ?? "";
    field.value = "";
    showProgress(file.name, 0, file.size);
    if (file.size === 0) {
      setState("failed", "not uploaded", "The file has no bytes. Choose another file.");
      return;
    }
    setState("sending", "uploading");
    const error = await formatError(file, box.dataset.accept);
    if (signal.aborted) return;
    if (error) {
      setState("failed", "not uploaded", error);
      return;
    }
    let created = 0;
    for (let delay = minDelay; !signal.aborted; ) {
      try {
        if (!url) {
          if (++created > 2) throw new tus.Rejected("The server does not keep the upload. Try again later.");
          url = await tus.create(file, signal);
          store.set(file, url);
        }
        const stored = await tus.find(url, signal);
        if (signal.aborted) return;
        if (!stored) {
          // The upload expired or belongs to another account: start over.
          store.delete(url);
          url = "";
          continue;
        }
        if (stored.offset >= file.size) {
          complete(file.name, file.size);
          return;
        }
        setState("sending", submitter ? "uploading; the form is submitted when it completes" : "uploading");
        showProgress(file.name, stored.offset, file.size);
        const speed = speedometer();
        speed(stored.offset);
        await tus.send(file, url, stored.offset, (offset) => {
          if (signal.aborted) return;
          delay = minDelay;
          showProgress(file.name, offset, file.size);
          const rate = speed(offset);
          part("speed").textContent = rate ? `${bytes(Math.round(rate))}/s` : "";
          part("left").textContent = rate ? remaining((1000 * (file.size - offset)) / rate) : "";
        }, signal);
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof tus.Rejected) {
          if (url) store.delete(url);
          setState("failed", "not uploaded", error.message);
          return;
        }
        setState("sending", "waiting for the network");
        await backOff(delay, signal);
        delay = Math.min(2 * delay, maxDelay);
      }
    }
  }

  function cancel() {
    controller.abort();
    if (url) {
      store.delete(url);
      tus.remove(url);
    }
    url = field.value = input.value = "";
    submitter = null;
    setState("none", "");
  }

  // restore shows the latest unused upload of this page.
  async function restore() {
    for (const entry of store.list()) {
      const stored = await tus.find(entry.url).catch(() => undefined);
      if (state !== "none" || stored === undefined) return;
      if (stored === null) {
        store.delete(entry.url);
        continue;
      }
      url = entry.url;
      if (stored.offset >= entry.size) {
        complete(entry.name, entry.size);
      } else {
        showProgress(entry.name, stored.offset, entry.size);
        setState("interrupted", "interrupted; choose the same file to resume");
      }
      return;
    }
  }

  input.addEventListener("change", () => input.files.length && upload(input.files[0]));
  part("cancel").addEventListener("click", cancel);
  for (const [type, dragging] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
    box.addEventListener(type, (event) => {
      event.preventDefault();
      box.classList.toggle("dragging", dragging);
      if (type === "drop" && event.dataTransfer.files.length) upload(event.dataTransfer.files[0]);
    });
  }
  form.addEventListener("submit", (event) => {
    if (state === "none" || state === "complete") {
      if (url) store.delete(url);
      return;
    }
    event.preventDefault();
    event.stopPropagation(); // page.js must not mark the form as submitted
    if (state === "sending") {
      submitter = event.submitter ?? form.querySelector("button[type=submit]");
      setState("sending", "uploading; the form is submitted when it completes");
    } else {
      setState(state, part("state").textContent, part("wrong").textContent || "Choose the same file to resume, or press “Discard” to continue without it.");
    }
  });
  if (field.value) url = `/${field.value}`;
  else restore();
}

for (const box of document.querySelectorAll("[data-upload]")) enhance(box);

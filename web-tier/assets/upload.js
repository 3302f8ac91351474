// A file goes up while its form is filled in. Where the network breaks it goes on
// by itself; where the page was closed, as soon as the same file is chosen again
// on the same page. The form is sent when the file is there.
import { amount, bytes, left } from "./quantity.js";
import { problem } from "./format.js";
import * as tus from "./tus.js";

const firstPause = 1000;
const longestPause = 30000;
const speedWindow = 5000; // what speed is taken over
const kept = 7 * 24 * 3600 * 1000; // as long as the server keeps what is not whole

// remembered are the uploads that were begun on this page and not used yet, by
// what their files are called, how large they are and when they were changed.
function memory(place) {
  const prefix = `techtalks-upload:${place}:`;
  const key = (file) => `${prefix}${file.name}:${file.size}:${file.lastModified}`;
  return {
    get: (file) => JSON.parse(localStorage.getItem(key(file)) ?? "null")?.url,
    set(file, url) {
      try {
        localStorage.setItem(key(file), JSON.stringify({ url, name: file.name, size: file.size, at: Date.now() }));
      } catch {
        // Without room or leave to remember it goes on while the page is open.
      }
    },
    forget(url) {
      for (const one of this.all()) if (one.url === url) localStorage.removeItem(one.key);
    },
    // all is the latest first.
    all() {
      const found = [];
      for (const name of Object.keys(localStorage)) {
        if (!name.startsWith(prefix)) continue;
        const one = JSON.parse(localStorage.getItem(name));
        if (Date.now() - one.at > kept) localStorage.removeItem(name);
        else found.push({ key: name, ...one });
      }
      return found.sort((a, b) => b.at - a.at);
    },
  };
}

// speedometer tells bytes a second over the last few seconds.
function speedometer() {
  const seen = [];
  return (at) => {
    const now = performance.now();
    seen.push([now, at]);
    while (seen.length > 2 && now - seen[0][0] > speedWindow) seen.shift();
    const [then, from] = seen[0];
    return now > then ? (1000 * (at - from)) / (now - then) : 0;
  };
}

// rest waits, or until the network is back.
function rest(milliseconds, signal) {
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
  const remembered = memory(new URL(form.action).pathname);
  let state = "none"; // waiting, sending, failed, whole
  let url = "";
  let wanted = null; // the button that sends the form once the file is there
  let stop = new AbortController();

  input.removeAttribute("name"); // its bytes do not come with the form
  box.classList.add("ready");

  function become(next, says, complaint = "") {
    state = next;
    box.dataset.is = next;
    sending.hidden = next === "none";
    part("state").textContent = says;
    part("wrong").textContent = complaint;
    part("wrong").hidden = !complaint;
    part("cancel").textContent = { waiting: "Forget it", whole: "Remove it", failed: "Go without it" }[next] ?? "Cancel the upload";
    if (next !== "sending") part("speed").textContent = part("left").textContent = "";
  }

  function progress(name, offset, size) {
    part("name").textContent = name;
    part("amount").textContent = amount(offset, size, "bytes");
    sending.querySelector("progress").value = size ? (100 * offset) / size : 0;
  }

  function whole(name, size) {
    progress(name, size, size);
    field.value = url.slice(1);
    part("kept").hidden = true;
    become("whole", "is here");
    if (wanted) form.requestSubmit(wanted);
  }

  async function upload(file) {
    stop.abort();
    stop = new AbortController();
    const signal = stop.signal;
    url = remembered.get(file) ?? "";
    field.value = "";
    progress(file.name, 0, file.size);
    if (file.size === 0) {
      become("failed", "was not taken", "The file has no bytes. Choose another one.");
      return;
    }
    become("sending", "is on its way");
    const complaint = await problem(file, box.dataset.accept);
    if (signal.aborted) return;
    if (complaint) {
      become("failed", "was not taken", complaint);
      return;
    }
    let begun = 0;
    for (let pause = firstPause; !signal.aborted; ) {
      try {
        if (!url) {
          if (++begun > 2) throw new tus.Refused("The server does not keep it. Try again in a while.");
          url = await tus.create(file, signal);
          remembered.set(file, url);
        }
        const is = await tus.find(url, signal);
        if (signal.aborted) return;
        if (!is) {
          // It expired, or somebody else is signed in: begin anew.
          remembered.forget(url);
          url = "";
          continue;
        }
        if (is.offset >= file.size) {
          whole(file.name, file.size);
          return;
        }
        become("sending", wanted ? "is on its way; the form is sent when it is here" : "is on its way");
        progress(file.name, is.offset, file.size);
        const speed = speedometer();
        speed(is.offset);
        await tus.send(file, url, is.offset, (at) => {
          if (signal.aborted) return;
          pause = firstPause;
          progress(file.name, at, file.size);
          const now = speed(at);
          part("speed").textContent = now ? `${bytes(Math.round(now))}/s` : "";
          part("left").textContent = now ? left((1000 * (file.size - at)) / now) : "";
        }, signal);
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof tus.Refused) {
          if (url) remembered.forget(url);
          become("failed", "was not taken", error.message);
          return;
        }
        become("sending", "waits for the network");
        await rest(pause, signal);
        pause = Math.min(2 * pause, longestPause);
      }
    }
  }

  function cancel() {
    stop.abort();
    if (url) {
      remembered.forget(url);
      tus.remove(url);
    }
    url = field.value = input.value = "";
    wanted = null;
    become("none", "");
  }

  // recall shows what was begun here before.
  async function recall() {
    for (const one of remembered.all()) {
      const is = await tus.find(one.url).catch(() => undefined);
      if (state !== "none" || is === undefined) return;
      if (is === null) {
        remembered.forget(one.url);
        continue;
      }
      url = one.url;
      if (is.offset >= one.size) {
        whole(one.name, one.size);
      } else {
        progress(one.name, is.offset, one.size);
        become("waiting", "waits to be sent on: choose the same file again");
      }
      return;
    }
  }

  input.addEventListener("change", () => input.files.length && upload(input.files[0]));
  part("cancel").addEventListener("click", cancel);
  for (const [event, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
    box.addEventListener(event, (happened) => {
      happened.preventDefault();
      box.classList.toggle("over", over);
      if (event === "drop" && happened.dataTransfer.files.length) upload(happened.dataTransfer.files[0]);
    });
  }
  form.addEventListener("submit", (event) => {
    if (state === "none" || state === "whole") {
      if (url) remembered.forget(url);
      return;
    }
    event.preventDefault();
    event.stopPropagation(); // it is not sent yet
    if (state === "sending") {
      wanted = event.submitter ?? form.querySelector("button[type=submit]");
      become("sending", "is on its way; the form is sent when it is here");
    } else {
      become(state, part("state").textContent, part("wrong").textContent || "Choose the same file to go on, or press “Forget it” to go without.");
    }
  });
  if (field.value) url = `/${field.value}`;
  else recall();
}

for (const box of document.querySelectorAll("[data-upload]")) enhance(box);

// Times are shown in the reader's own zone and words.
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "long" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export function localise(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const exact = time.dateTime.includes("T");
    const date = new Date(exact ? time.dateTime : time.dateTime + "T12:00");
    if (!Number.isNaN(date.getTime())) {
      time.textContent = (time.hasAttribute("data-clock") ? clock : time.hasAttribute("data-exact") ? moment : day).format(date);
      if (exact) time.title = moment.format(date);
    }
  }
}

localise(document);

// A form that is being sent is not sent again.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.sent) {
    event.preventDefault();
    return;
  }
  form.dataset.sent = "yes";
});
window.addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.sent;
});

// Asked before what cannot be undone.
for (const button of document.querySelectorAll("[data-confirm]")) {
  button.addEventListener("click", (event) => {
    if (!window.confirm(button.dataset.confirm)) event.preventDefault();
  });
}

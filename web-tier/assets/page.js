// Shows times in the reader's own time zone and language.
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

// Prevents a second submission of a form while the first is in flight.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.submitted) {
    event.preventDefault();
    return;
  }
  form.dataset.submitted = "true";
});
window.addEventListener("pageshow", () => {
  for (const form of document.forms) delete form.dataset.submitted;
});

// Asks for confirmation of actions that cannot be undone.
for (const button of document.querySelectorAll("[data-confirm]")) {
  button.addEventListener("click", (event) => {
    if (!window.confirm(button.dataset.confirm)) event.preventDefault();
  });
}

// Live updates, questions before changes, and keys. Pages work without it.
"use strict";

// An element with `data-live` is loaded anew from that URL when an event of the tenant arrives, at
// most twice a second, and not while somebody types or selects in it.
const PAUSE_MS = 500;
const POLL_MS = 5000;
let isDue = false;
let timer = null;
let refreshedAt = -PAUSE_MS;

function refresh() {
  timer = null;
  refreshedAt = performance.now();
  if (document.hidden) { isDue = true; return; }
  isDue = false;
  for (const element of document.querySelectorAll("[data-live]")) {
    if (element.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")) continue;
    htmx.ajax("GET", element.dataset.live, { target: element, swap: "innerMorph", headers: { "Heloise-Live": "true" } });
  }
}

function schedule() {
  if (timer === null) timer = setTimeout(refresh, Math.max(0, refreshedAt + PAUSE_MS - performance.now()));
}

document.addEventListener("visibilitychange", () => { if (isDue) schedule(); });

const { events, eventTypes } = document.body.dataset;
if (events && document.querySelector("[data-live]")) {
  const source = new EventSource(events);
  for (const type of eventTypes.split(" ")) source.addEventListener(type, schedule);
  // The stream begins when it opens: what happened since the page was built is not in it.
  source.addEventListener("open", schedule, { once: true });
}

// Some facts, such as the answers of webhooks, change without an event.
if (document.querySelector("[data-poll]")) setInterval(schedule, POLL_MS);

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});

// A button with `data-copy` copies the text of the element with that id.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
  button.textContent = "Copied";
});

// A file chosen in an input with `data-fill` fills the textarea with that id.
document.addEventListener("change", async (event) => {
  const { fill } = event.target.dataset;
  if (fill) document.getElementById(fill).value = await event.target.files[0].text();
});

// Live updates, questions before changes, and keys. Pages work without it.
"use strict";

// An element with `data-live` is loaded anew from that URL when an event of the tenant arrives: at
// once, then at most every two seconds, and not while somebody types or selects in it. What takes
// long to load, such as a search, pauses longer. The pause has a limit: a machine that slept while a
// part loaded would otherwise stop the updates for hours.
const PAUSE_MS = 2000;
const MAX_PAUSE_MS = 30000;
const PAUSE_FACTOR = 5;
const POLL_MS = 5000;
let timer = null;
let refreshedAt = -PAUSE_MS;
let pauseMs = PAUSE_MS;

const isTyping = () => document.activeElement.matches("input, textarea, select");

function refresh() {
  if (document.hidden) return;
  const startedAt = performance.now();
  const loads = [];
  for (const element of document.querySelectorAll("[data-live]")) {
    if (isTyping() && element.contains(document.activeElement)) continue;
    if (element.querySelector("input[type=checkbox]:checked")) continue;
    loads.push(htmx.ajax("GET", element.dataset.live, { target: element, swap: "innerMorph", headers: { "Heloise-Live": "true" } }));
  }
  Promise.allSettled(loads).then(() => {
    const elapsed = performance.now() - startedAt;
    pauseMs = Math.min(MAX_PAUSE_MS, Math.max(PAUSE_MS, PAUSE_FACTOR * elapsed));
  });
}

function schedule() {
  timer ??= setTimeout(() => {
    timer = null;
    refreshedAt = performance.now();
    refresh();
  }, Math.max(0, refreshedAt + pauseMs - performance.now()));
}

// Only visible pages listen: a browser opens about six connections to a host, for all its tabs.
const { events, eventTypes } = document.body.dataset;
let source = null;

function listen() {
  source?.close();
  source = null;
  if (document.hidden) return;
  source = new EventSource(events);
  for (const type of eventTypes.split(" ")) source.addEventListener(type, schedule);
  // The stream begins when it opens: what happened since the page was built is not in it.
  source.addEventListener("open", refresh, { once: true });
}

if (events && document.querySelector("[data-live]")) {
  listen();
  document.addEventListener("visibilitychange", listen);
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

// Keys, as `?` shows them. A row is reached by its first link.
function findRows() {
  return [...document.querySelectorAll("main tbody tr")].map((row) => row.querySelector("a[href]")).filter(Boolean);
}

function step(by) {
  const links = findRows();
  const row = document.activeElement.closest("main tbody tr");
  const at = links.findIndex((link) => row?.contains(link));
  links[at < 0 ? 0 : Math.min(Math.max(at + by, 0), links.length - 1)]?.focus();
}

const ACTIONS = {
  j: () => step(1),
  k: () => step(-1),
  x: () => document.activeElement.closest("tr")?.querySelector("input[type=checkbox]")?.click(),
  "/": () => document.querySelector("[role=search] input:not([type=hidden])")?.focus(),
  "?": () => document.getElementById("keys")?.showModal(),
};

document.addEventListener("keydown", (event) => {
  const isText = isTyping() && document.activeElement.type !== "checkbox";
  if (isText || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const action = ACTIONS[event.key];
  if (action) { event.preventDefault(); action(); }
});

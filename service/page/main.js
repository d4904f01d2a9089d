// The page: a query above, and one of three views of what the service makes of it.

import * as compare from "./compare.js";
import { $, $$ } from "./dom.js";
import "./keyboard.js";
import { onKey } from "./keys.js";
import * as map from "./map.js";
import * as search from "./search.js";
import { addressOf, current, go, onState } from "./state.js";
import "./theme.js";

const VIEWS = { search, compare, map };
const TYPING_MS = 200; // a pause that long asks

const input = $("#query");
const main = $("#main");
let pause = 0;

const viewOf = (state) => VIEWS[state.view] ?? search;

function show(state) {
  const view = viewOf(state);
  if (main.firstElementChild !== view.element) main.replaceChildren(view.element);
  if (input.value.trim() !== state.q.trim()) input.value = state.q;
  document.title = [state.q, state.view === "search" ? "" : state.view, "radsearch"].filter(Boolean).join(" · ");
  for (const link of $$("nav [data-view]")) {
    link.href = addressOf({ ...state, view: link.dataset.view });
    if (link.dataset.view === state.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  view.show(state);
}

/** Ask for what stands in the box; on the map a query means to search. */
function ask(options) {
  clearTimeout(pause);
  const { view } = current();
  go({ q: input.value, view: view === "map" ? "search" : view }, options);
}

input.addEventListener("input", () => {
  clearTimeout(pause);
  if (current().view !== "map") pause = setTimeout(ask, TYPING_MS, { replace: true });
});
$("#ask").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
for (const link of $$("nav [data-view]")) {
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go({ view: link.dataset.view });
  });
}
for (const button of $$("dialog [data-close]")) button.addEventListener("click", () => button.closest("dialog").close());
onKey(() => viewOf(current()).again());
onState(show);
show(current());
if (!current().q && current().view === "search") input.focus();

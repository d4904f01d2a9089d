// The search view: one query, its items as cards or as the beam that found them.

import * as api from "./api.js";
import { answerStatus, card, failure } from "./cards.js";
import { choice, field, h } from "./dom.js";
import { filterChips, filterPanel } from "./filters.js";
import { openKey } from "./keys.js";
import { current, go } from "./state.js";
import { lightNext, whyTree } from "./why.js";

const MOST_ITEMS = 100;

const controls = h("div", { class: "controls" });
const side = h("details", { class: "side" }, h("summary", {}, "Filters"));
const chips = h("div");
const said = h("p", { class: "unseen", role: "status" });
const answered = h("div", { class: "answer" });
export const element = h("div", { class: "search" }, side, h("section", { "aria-label": "Results" }, controls, chips, said, answered));
side.open = matchMedia("(min-width: 60rem)").matches;

let running = null; // AbortController of the search in flight
let asked = ""; // what the shown answer is to
let panelOf = null; // variant of the panel shown
let panel = null;

/** Bring the view in line with the state. */
export async function show(state) {
  showControls(state);
  chips.replaceChildren(filterChips(state.filters, (filters) => go({ filters })));
  showPanel(state);
  const wanted = JSON.stringify([state.q, state.k, state.beam, state.variant, state.filters, state.why]);
  if (wanted === asked) return;
  asked = wanted;
  await run(state);
}

/** Ask again although nothing has changed. */
export function again() {
  asked = "";
  panelOf = null;
  show(current());
}

async function run(state) {
  running?.abort();
  const mine = (running = new AbortController());
  if (!state.q.trim()) return offerExamples(mine);
  element.classList.add("waiting");
  const started = performance.now();
  const ticking = setInterval(() => (said.textContent = `waiting for ${Math.round((performance.now() - started) / 1000)} s`), 1000);
  try {
    const request = { query: state.q, k: state.k, beam: state.beam, filters: state.filters, variant: state.variant, explain: state.why };
    const answer = await api.search(request, mine.signal);
    if (mine.signal.aborted) return;
    const status = answerStatus(answer, performance.now() - started, state.variant);
    answered.replaceChildren(status, ...(await (state.why ? whyTree(answer, state, mine.signal) : cards(answer, state))));
    said.textContent = `${answer.returned} items for ${state.q}`;
    measurePaint();
  } catch (error) {
    if (error.name === "AbortError") return;
    answered.replaceChildren(failure(error, again, openKey));
    said.textContent = "";
  } finally {
    clearInterval(ticking);
    if (running === mine) element.classList.remove("waiting");
  }
}

function cards(answer, state) {
  if (!answer.items.length) return [h("p", { class: "nothing" }, "No item meets this; take a filter away or ask for something else.")];
  const items = answer.items.map((item, place) => card(item, place + 1, state.q, { onwhy: () => why(item) }));
  return [h("ol", { class: "cards" }, items)];
}

/** Show the beam, and the path of one item in it. */
function why(item) {
  lightNext(item.item_id);
  go({ why: true });
}

/** Note when the first results are on the screen, for whoever looks at performance.getEntriesByName. */
function measurePaint() {
  requestAnimationFrame(() => setTimeout(() => {
    performance.clearMeasures("response to paint");
    performance.measure("response to paint", "/v1/search");
  }));
}

async function offerExamples(mine) {
  element.classList.remove("waiting");
  answered.replaceChildren();
  try {
    const { examples } = await api.models();
    if (mine.signal.aborted) return;
    answered.replaceChildren(h("p", {}, "Queries to try:"), h("ul", { class: "chips" }, examples.map((query) =>
      h("li", {}, h("button", { type: "button", class: "chip", onclick: () => go({ q: query }) }, query)))));
  } catch (error) {
    if (!mine.signal.aborted) answered.replaceChildren(failure(error, again, openKey));
  }
}

async function showPanel(state) {
  if (panelOf !== state.variant) {
    panelOf = state.variant;
    try {
      const { attributes } = await api.attributes(state.variant);
      panel?.element.remove();
      panel = filterPanel(attributes, (filters) => go({ filters }));
      side.append(panel.element);
    } catch {
      panelOf = null; // the search says what is wrong
    }
  }
  panel?.show(current().filters);
}

async function showControls(state) {
  let names = [];
  try {
    names = (await api.models()).models.map((model) => model.variant);
  } catch {
    // the search says what is wrong
  }
  const now = current();
  if (now.view !== "search" || controls.contains(document.activeElement) && controls.dataset.for === JSON.stringify(names)) return;
  controls.dataset.for = JSON.stringify(names);
  const variants = [["", "as assigned"], ...names.map((name) => [name, name])];
  const number = (name, value, most, title) => {
    const input = h("input", { type: "number", min: name === "beam" ? 0 : 1, max: most, value: value || "", placeholder: "widest", title,
      onchange: () => input.checkValidity() && go({ [name]: input.value === "" ? 0 : input.valueAsNumber }) });
    return input;
  };
  const shape = (isWhy, text, keys) => h("button", { type: "button", class: "plain", "aria-pressed": String(now.why === isWhy), "aria-keyshortcuts": keys,
    onclick: () => { go({ why: isWhy }); showControls(current()); } }, text);
  controls.replaceChildren(
    field("Variant", choice(variants, now.variant, (variant) => go({ variant }))),
    field("Items", number("k", now.k, MOST_ITEMS, "Items to return")),
    field("Beam width", number("beam", now.beam, 100_000, "SIDs to look for; empty for the widest")),
    h("span", { class: "segments", role: "group", "aria-label": "Show" }, shape(false, "Cards"), shape(true, "Why", "e")));
}

// The search view: one query, its items as cards or as the beam that found them.

import * as api from "./api.js";
import { answerStatus, card, failure } from "./cards.js";
import { kept, number, variantChoice } from "./controls.js";
import { h } from "./dom.js";
import { filterChips, filterPanel } from "./filters.js";
import { openKey } from "./keys.js";
import { current, go } from "./state.js";
import { lightNext, whyTree } from "./why.js";

const MOST_ITEMS = 100;

const controls = h("div", { class: "controls" });
const settings = kept(controls, makeControls);
const side = h("details", { class: "side" }, h("summary", {}, "Filters"));
const chips = h("div");
const said = h("p", { class: "unseen", role: "status" });
const answered = h("div", { class: "answer" });
export const element = h("div", { class: "search" }, side, h("section", { "aria-label": "Results" }, h("h2", { class: "unseen" }, "Results"), controls, chips, said, answered));
side.open = matchMedia("(min-width: 60rem)").matches;

let running = null; // AbortController of the search in flight
let asked = ""; // what the shown answer is to
let panelOf = null; // variant of the panel shown
let panel = null;

/** Bring the view in line with the state. */
export async function show(state) {
  showControls();
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

async function showControls() {
  let names = [];
  try {
    names = (await api.models()).models.map((model) => model.variant);
  } catch {
    // the search says what is wrong
  }
  settings(names, current());
}

function makeControls(names) {
  const variant = variantChoice(names, (name) => go({ variant: name }));
  const items = number("Items", { min: 1, max: MOST_ITEMS, title: "Items to return" }, (value) => value && go({ k: Number(value) }));
  const beam = number("Beam width", { min: 1, placeholder: "widest", title: "SIDs to look for; empty for the widest" }, (value) => go({ beam: Number(value) }));
  const shapes = [[false, "Cards"], [true, "Why"]].map(([isWhy, text]) => h("button", { type: "button", class: "plain",
    "aria-keyshortcuts": isWhy && "e", onclick: () => go({ why: isWhy }) }, text));
  return {
    elements: [variant.element, items.element, beam.element, h("span", { class: "segments", role: "group", "aria-label": "Show" }, shapes)],
    show(state) {
      variant.show(state.variant);
      items.show(state.k);
      beam.show(state.beam || "");
      shapes.forEach((button, place) => button.setAttribute("aria-pressed", String(state.why === Boolean(place))));
    },
  };
}

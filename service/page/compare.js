// The compare view: one query asked two ways, what differs, and which items are relevant.

import * as api from "./api.js";
import { answerStatus, card, failure } from "./cards.js";
import { $$, choice, field, fixed, h, percent, plural } from "./dom.js";
import { filterChips } from "./filters.js";
import { onJudgments, precision } from "./judgments.js";
import { openKey } from "./keys.js";
import { PERSISTENCE, rankBiasedOverlap } from "./rbo.js";
import { current, go } from "./state.js";

const SIDES = ["a", "b"];

const summary = h("p", { class: "summary", role: "status" });
const chips = h("div");
const columns = Object.fromEntries(SIDES.map((side) => [side, makeSide(side)]));
export const element = h("div", { class: "compare" }, chips, summary, h("div", { class: "sides" }, SIDES.map((side) => columns[side].element)));

let running = null;
let asked = "";
let answers = null; // of both sides, when both are there

function makeSide(side) {
  const controls = h("div", { class: "controls" });
  const answered = h("div", { class: "answer" });
  return { controls, answered, element: h("section", { "aria-label": `Side ${side.toUpperCase()}` }, h("h2", {}, side.toUpperCase()), controls, answered) };
}

/** What a side asks for. */
const requestOf = (state, side) => ({
  query: state.q, k: state.k, beam: state[`${side}beam`], variant: state[side], filters: state[`${side}filters`] ? state.filters : {},
});

export async function show(state) {
  chips.replaceChildren(filterChips(state.filters, (filters) => go({ filters })));
  const wanted = JSON.stringify(SIDES.map((side) => requestOf(state, side)));
  if (wanted === asked) return;
  asked = wanted;
  let models = [];
  try {
    models = (await api.models()).models;
  } catch {
    // the searches say what is wrong
  }
  if (!state.a && !state.b && models.length > 1) return go({ a: models[0].variant, b: models[1].variant }, { replace: true });
  for (const side of SIDES) showControls(state, side, models);
  await run(state);
}

/** Ask again although nothing has changed. */
export function again() {
  asked = "";
  show(current());
}

function showControls(state, side, models) {
  const model = models.find((each) => each.variant === state[side]);
  const beam = h("input", { type: "number", min: 1, value: state[`${side}beam`] || "", placeholder: "widest",
    onchange: () => go({ [`${side}beam`]: beam.value === "" ? 0 : beam.valueAsNumber }) });
  const filters = h("input", { type: "checkbox", checked: state[`${side}filters`], onchange: () => go({ [`${side}filters`]: filters.checked }) });
  const variants = [["", "as assigned"], ...models.map((each) => [each.variant, each.variant])];
  columns[side].controls.replaceChildren(
    field("Variant", choice(variants, state[side], (variant) => go({ [side]: variant }))),
    field("Beam width", beam), field("Filters", filters),
    model && h("p", { class: "quiet small", title: "Weights of the ordering inside the SIDs found" },
      Object.entries(model.ordering).map(([name, weight]) => `${name === "tau" ? "τ" : name} ${weight}`).join(" · ")));
}

async function run(state) {
  running?.abort();
  const mine = (running = new AbortController());
  answers = null;
  if (!state.q.trim()) {
    summary.textContent = "Type a query: both sides answer it.";
    for (const side of SIDES) columns[side].answered.replaceChildren();
    return;
  }
  element.classList.add("waiting");
  const found = await Promise.all(SIDES.map(async (side) => {
    const started = performance.now();
    try {
      return { answer: await api.search(requestOf(state, side), mine.signal), roundTrip: performance.now() - started };
    } catch (error) {
      return { error };
    }
  }));
  if (mine.signal.aborted) return;
  element.classList.remove("waiting");
  answers = found.every((one) => one.answer) ? found.map((one) => one.answer) : null;
  SIDES.forEach((side, place) => columns[side].answered.replaceChildren(...sideOf(found[place], found[1 - place], state, side)));
  summarise();
}

function sideOf({ answer, error, roundTrip }, other, state, side) {
  if (error) return [failure(error, again, openKey)];
  const ranks = new Map((other.answer?.items ?? []).map((item, place) => [item.item_id, place + 1]));
  const cards = answer.items.map((item, place) => {
    const li = card(item, place + 1, state.q, { mark: other.answer && difference(place + 1, ranks.get(item.item_id)) });
    for (const kind of ["pointerenter", "focusin"]) li.addEventListener(kind, () => light(item.item_id));
    return li;
  });
  return [answerStatus(answer, roundTrip, state[side]), h("ol", { class: "cards" }, cards)];
}

/** How a place differs from that on the other side. */
function difference(rank, there) {
  if (there === undefined) return h("span", { class: "mark only", title: "Not on the other side" }, "only here");
  if (there === rank) return h("span", { class: "mark same", title: "At the same place on the other side" }, "=");
  const [kind, sign] = there > rank ? ["up", "▲"] : ["down", "▼"];
  return h("span", { class: `mark ${kind}`, title: `At place ${there} on the other side` }, `${sign} ${Math.abs(there - rank)}`);
}

function light(itemId) {
  for (const li of $$(".item", element)) li.classList.toggle("lit", li.dataset.item === itemId);
}

function summarise() {
  if (!answers) return void (summary.textContent = "");
  const [a, b] = answers.map((answer) => answer.items.map((item) => item.item_id));
  const shared = a.filter((id) => b.includes(id)).length;
  const judged = answers.map((answer) => precision(current().q, answer.items));
  const parts = [
    `${shared} of ${Math.max(a.length, b.length)} on both sides`,
    `rank-biased overlap ${fixed(rankBiasedOverlap(a, b), 3)} (p = ${PERSISTENCE})`,
    ...SIDES.map((side, place) => judged[place].n && `${side.toUpperCase()}: ${percent(judged[place].share)} of ${plural(judged[place].n, "judged item")} in the first ten relevant`),
  ];
  summary.textContent = parts.filter(Boolean).join(" · ");
}

onJudgments(summarise);

// The compare view: one query asked two ways, what differs, and which items are relevant.

import * as api from "./api.js";
import { answerStatus, card, failure } from "./cards.js";
import { kept, number, tick, variantChoice } from "./controls.js";
import { $$, fixed, h, percent, plural } from "./dom.js";
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
  const settings = kept(controls, (models) => makeControls(side, models));
  return { settings, answered, element: h("section", { "aria-label": `Side ${side.toUpperCase()}` }, h("h2", {}, side.toUpperCase()), controls, answered) };
}

/** τ that a side asks for; undefined where the bundle's holds. */
const tauOf = (state, side) => (state[`${side}tau`] === "" || !Number.isFinite(Number(state[`${side}tau`])) ? undefined : Number(state[`${side}tau`]));

/** What a side asks for. */
function requestOf(state, side) {
  const tau = tauOf(state, side);
  return {
    query: state.q, k: state.k, beam: state[`${side}beam`], variant: state[side], filters: state[`${side}filters`] ? state.filters : {},
    ordering: tau === undefined ? undefined : { tau },
  };
}

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
  for (const side of SIDES) columns[side].settings(models, state);
  await run(state);
}

/** Ask again although nothing has changed. */
export function again() {
  asked = "";
  show(current());
}

function makeControls(side, models) {
  const set = (name) => (value) => go({ [side + name]: value });
  const variant = variantChoice(models.map((each) => each.variant), set(""));
  const beam = number("Beam width", { min: 1, placeholder: "widest" }, (value) => set("beam")(Number(value)));
  const tau = number("τ", { step: "any", title: "Weight of the cosine of query vector and item vector in an item's score" }, set("tau"));
  const filters = tick("Filters", set("filters"));
  const weights = h("p", { class: "quiet small", title: "Weights of the ordering, as the bundle has them" });
  return {
    elements: [variant.element, beam.element, tau.element, filters.element, weights],
    show(state) {
      const ordering = models.find((each) => each.variant === state[side])?.ordering ?? {};
      variant.show(state[side]);
      beam.show(state[`${side}beam`] || "");
      tau.show(tauOf(state, side) ?? "");
      tau.input.placeholder = ordering.tau ?? "the bundle's";
      filters.show(state[`${side}filters`]);
      weights.textContent = Object.entries(ordering).map(([name, weight]) => `${name === "tau" ? "τ" : name} ${weight}`).join(" · ");
    },
  };
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

// Items as cards, and the status of the answer they came with.

import { $$, fixed, h, inWords, named, plural, sidText } from "./dom.js";
import { judgeButtons, onJudgments, showGrade } from "./judgments.js";

const STAGES = ["tokenize", "queue", "decode", "items"];

/** What a card is about: {query, item, buttons}. */
export const dataOf = new WeakMap();

onJudgments(() => {
  for (const li of $$("#main .item")) {
    const { query, item, buttons } = dataOf.get(li);
    showGrade(buttons, query, item);
  }
});

/** An item; `onwhy` is called for its explanation, `mark` tells how it compares. */
export function card(item, rank, query, { onwhy, mark } = {}) {
  const { price, ...others } = item.attributes;
  const buttons = judgeButtons(query, item);
  const li = h("li", { class: "item", tabindex: "-1", "data-item": item.item_id },
    h("div", { class: "line" }, h("span", { class: "rank" }, String(rank)), mark,
      h("span", { class: "sid", title: "Semantic ID" }, sidText(item.sid)),
      h("span", { class: "score", title: "Score, comparable within an answer" }, fixed(item.score, 3))),
    h("h3", {}, item.title),
    h("dl", {}, Object.entries(others).map(([name, value]) => h("div", {}, h("dt", {}, named(name)), h("dd", {}, inWords(value))))),
    h("div", { class: "line end" },
      typeof price === "number" && h("span", { class: "price" }, fixed(price)),
      buttons,
      onwhy && h("button", { type: "button", class: "plain why", "aria-keyshortcuts": "e", onclick: onwhy,
        "aria-label": `Why ${item.title}` }, "Why")));
  dataOf.set(li, { query, item, buttons });
  return li;
}

/** How many there are, how long it took, and what was out of the ordinary; `variant` is who should have answered. */
export function answerStatus(answer, roundTrip, variant) {
  const { total, ...stages } = answer.timings_ms;
  const badges = [
    variant && variant !== answer.variant && [`not ${variant}`, "Another variant answered than was asked for"],
    answer.cached && ["cached", "The same was asked before"],
    answer.exhausted && ["exhausted", "Fewer than the asked items exist"],
    ...answer.degraded.map((what) => [`degraded: ${what}`, what === "beam" ? "Much to do: fewer SIDs were looked for" : "Redis was away; the bundle's own copy answered"]),
  ].filter(Boolean);
  return h("div", { class: "status" },
    h("span", { class: "n" }, `${plural(answer.returned, "item")} `),
    h("span", {}, `${fixed(total, 1)} ms`), h("span", { class: "quiet" }, `${fixed(roundTrip, 0)} ms with the network`),
    badges.map(([text, title]) => h("span", { class: `badge ${text.split(":")[0]}`, title }, text)),
    h("span", { class: "quiet" }, `variant ${answer.variant} · model ${answer.model} · epoch ${answer.epoch}`),
    timings(stages));
}

/** The stages as parts of one bar, and in words. */
function timings(stages) {
  const sum = STAGES.reduce((total, stage) => total + stages[stage], 0) || 1;
  return h("span", { class: "stages" },
    h("span", { class: "bar", "aria-hidden": "true" },
      STAGES.map((stage) => h("span", { class: stage, "--share": stages[stage] / sum }))),
    STAGES.map((stage) => h("span", { class: `stage ${stage}` }, `${stage} ${fixed(stages[stage], 1)}`)));
}

/** A request that failed: what happened, where, and what to do. */
export function failure(error, retry, enterKey) {
  return h("div", { class: "failure", role: "alert" },
    h("h2", {}, error.title ?? "An error of this page"),
    h("p", {}, error.message),
    error.errors?.length > 1 && h("ul", {}, error.errors.map((one) => h("li", {}, h("code", {}, one.pointer), ` ${one.detail}`))),
    error.retryAfter > 0 && h("p", {}, `Come back in ${error.retryAfter} s.`),
    error.requestId && h("p", { class: "quiet" }, `request_id ${error.requestId}`),
    h("div", { class: "actions" },
      error.needsKey && h("button", { type: "button", onclick: enterKey }, "Enter a key"),
      h("button", { type: "button", class: error.needsKey ? "plain" : "", onclick: retry }, "Try again")));
}

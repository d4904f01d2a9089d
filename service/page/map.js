// The catalogue map: the SID tree column by column, and how well each level's codes are used.

import * as api from "./api.js";
import { failure } from "./cards.js";
import { choice, kept } from "./controls.js";
import { fixed, h, meaning, percent, plural, sidText, whole } from "./dom.js";
import { openKey } from "./keys.js";
import { current, go } from "./state.js";

const POOR = 0.5; // share of a codebook below which its use is marked

const controls = h("div", { class: "controls" });
const settings = kept(controls, (names) => {
  const variant = choice("Catalogue of", names.map((name) => [name, name]), (name) => go({ variant: name, at: "" }));
  return { elements: [variant.element], show: (state) => variant.show(state.variant || names[0]) };
});
const report = h("div");
const browser = h("div", { class: "miller scroll", tabindex: "0", role: "region", "aria-label": "SIDs, level by level" });
const problem = h("div");
export const element = h("div", { class: "map" }, h("h2", { class: "unseen" }, "Catalogue map"), controls, problem, report, h("h3", {}, "Browse"), browser);

let running = null;
let asked = "";
let reported = null; // variant of the report shown

export async function show(state) {
  const wanted = JSON.stringify([state.variant, state.at]);
  if (wanted === asked) return;
  asked = wanted;
  running?.abort();
  const mine = (running = new AbortController());
  element.classList.add("waiting");
  try {
    const names = (await api.models()).models.map((model) => model.variant);
    settings(names, state);
    if (reported !== state.variant) {
      const told = await api.sidReport(state.variant, mine.signal);
      reported = state.variant;
      showReport(told);
    }
    await browse(state, mine.signal);
    problem.replaceChildren();
  } catch (error) {
    if (error.name === "AbortError") return;
    problem.replaceChildren(failure(error, again, openKey));
  } finally {
    if (running === mine) element.classList.remove("waiting");
  }
}

/** Ask again although nothing has changed. */
export function again() {
  asked = "";
  reported = null;
  show(current());
}

function showReport(told) {
  const heads = ["Level", "Codes used", "Perplexity", "Evenness", "Most used code", "Prefixes", "Children, mean", "Children, most"];
  const rows = told.levels.map((level, place) => h("tr", {},
    h("th", { scope: "row" }, String(place)),
    h("td", { class: level.utilisation < POOR ? "poor" : "" }, `${percent(level.utilisation)} of ${whole(level.codebook_size)}`),
    h("td", {}, fixed(level.perplexity, 1)), h("td", {}, fixed(level.evenness)), h("td", {}, `${percent(level.largest_share)} of the items`),
    h("td", {}, whole(level.prefixes)), h("td", {}, fixed(level.branching_mean, 1)), h("td", {}, whole(level.branching_max))));
  report.replaceChildren(
    h("p", { class: "summary" }, [`${plural(told.items, "item")} under ${plural(told.sids, "SID")}`, `${fixed(told.items_per_sid_mean)} items per SID, ${whole(told.items_per_sid_max)} at most`,
      `${percent(told.collision_share)} of the items share their SID`, told.hourglass > 0 ? `hourglass ${fixed(told.hourglass)}` : "no hourglass"].join(" · ")),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Use of the codebooks" },
      h("table", {}, h("caption", { class: "unseen" }, "Use of the codebooks"), h("thead", {}, h("tr", {}, heads.map((text) => h("th", { scope: "col" }, text)))), h("tbody", {}, rows))),
    ...told.levels.map(heat),
    h("h3", {}, "Most crowded SIDs"),
    h("ol", { class: "crowded" }, told.crowded.map((node) => h("li", {}, nodeButton(node, told.crowded[0].items, false, sidText(node.prefix))))));
}

/** A codebook as cells in the order of its codes; the more items have a code, the stronger. */
function heat(level, place) {
  const most = Math.max(...level.items_per_code);
  const used = level.items_per_code.filter(Boolean).length;
  const cells = level.items_per_code.map((n, code) => h("span", { class: n ? "" : "dead", title: `code ${code}: ${plural(n, "item")}`, "--share": Math.sqrt(n / most) }));
  return h("figure", {},
    h("figcaption", {}, `Level ${place}: items by code; ${plural(level.codebook_size - used, "code")} without any`),
    h("div", { class: "heat", role: "img", "aria-label": `${used} of ${level.codebook_size} codes are used` }, cells));
}

async function browse(state, signal) {
  const codes = state.at ? state.at.split("-") : [];
  const prefixes = [...codes.keys(), codes.length].map((depth) => codes.slice(0, depth).join("-"));
  const found = await Promise.all(prefixes.map((prefix) => api.sids(prefix, state.variant, signal)));
  browser.replaceChildren(...found.map((answer, depth) => column(answer, depth, codes)));
  browser.scrollLeft = browser.scrollWidth;
}

function column(answer, depth, codes) {
  if (depth === answer.codebook_sizes.length) {
    return h("section", { class: "column" }, h("h4", {}, `${plural(answer.node.items, "item")} of ${sidText(answer.node.prefix)}`),
      h("ol", {}, answer.items.map((item) => h("li", { class: "leaf" }, item.title))));
  }
  const most = answer.children[0]?.items ?? 1;
  return h("section", { class: "column" }, h("h4", {}, `Level ${depth}: ${whole(answer.codes)} of ${whole(answer.codebook_sizes[depth])} codes`),
    h("ol", {}, answer.children.map((node) => h("li", {}, nodeButton(node, most, codes[depth] === String(node.prefix.at(-1)))))),
    answer.codes > answer.children.length && h("p", { class: "quiet small" }, `${plural(answer.codes - answer.children.length, "code")} with fewer items`));
}

function nodeButton(node, most, isOpen, text = String(node.prefix.at(-1))) {
  return h("button", { type: "button", class: "node kept", "aria-expanded": String(isOpen), "--share": node.items / most, title: node.titles.join(" · "),
    onclick: () => go({ at: sidText(node.prefix) }) },
    h("span", { class: "line" }, h("b", { class: "sid" }, text), h("span", {}, plural(node.items, "item")), node.sids > 1 && h("span", { class: "quiet" }, plural(node.sids, "SID"))),
    h("span", { class: "meaning" }, meaning(node)), node.items > 1 && h("span", { class: "meaning quiet" }, node.titles[0]));
}

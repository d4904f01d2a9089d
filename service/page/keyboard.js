// Everything can be done from the keyboard; one list says how, and the help shows it.

import { dataOf } from "./cards.js";
import { $, $$, h } from "./dom.js";
import { IRRELEVANT, RELEVANT, gradeOf, judge, openJudgments } from "./judgments.js";
import { current, go } from "./state.js";
import { nextTheme } from "./theme.js";

const focused = () => document.activeElement?.closest?.(".item");
const lists = () => $$(".cards", $("#main"));

function step(by) {
  const item = focused();
  const list = item?.closest(".cards") ?? lists()[0];
  if (!list) return;
  const items = [...list.children];
  const next = item ? items.indexOf(item) + by : 0;
  items[Math.max(0, Math.min(items.length - 1, next))]?.focus();
}

function across(by) {
  const item = focused();
  const list = lists()[lists().indexOf(item?.closest(".cards")) + by];
  if (item && list) list.children[Math.min([...item.parentElement.children].indexOf(item), list.children.length - 1)]?.focus();
}

function grade(wanted) {
  const data = dataOf.get(focused());
  if (!data) return;
  const held = gradeOf(data.query, data.item.item_id);
  if (wanted !== undefined ? held !== wanted : held !== undefined) judge(data.query, data.item, wanted ?? held);
}

function why() {
  const button = focused() && $(".why", focused());
  if (button) button.click();
  else if (current().view === "search") go({ why: !current().why });
}

function toQuery() {
  $("#query").focus();
  $("#query").select();
}

const BINDINGS = [
  [["/"], "Type a query", toQuery],
  [["j", "ArrowDown"], "Next item", () => step(1)],
  [["k", "ArrowUp"], "Item before", () => step(-1)],
  [["h", "ArrowLeft"], "Left side, when comparing", () => across(-1)],
  [["l", "ArrowRight"], "Right side, when comparing", () => across(1)],
  [["y"], "Item is relevant", () => grade(RELEVANT)],
  [["n"], "Item is not relevant", () => grade(IRRELEVANT)],
  [["u"], "Take the judgment back", () => grade(undefined)],
  [["e"], "Why this item; cards or beam", why],
  [["x"], "Take all filters away", () => go({ filters: {} })],
  [["1"], "Search", () => go({ view: "search" })],
  [["2"], "Compare", () => go({ view: "compare" })],
  [["3"], "Map", () => go({ view: "map" })],
  [["d"], "Judgments and their file", openJudgments],
  [["t"], "Theme", nextTheme],
  [["?"], "This help", () => $("#help-dialog").showModal()],
];

const SIGNS = { ArrowDown: "↓", ArrowUp: "↑", ArrowLeft: "←", ArrowRight: "→" };

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || $("dialog[open]")) return;
  const isTyping = event.target.matches?.("input:not([type=checkbox], [type=radio]), select, textarea");
  if (isTyping) {
    if (event.key === "Escape") event.target.blur();
    if (event.target.id === "query" && event.key === "ArrowDown") step(1);
    return;
  }
  // Arrows scroll where there is something to scroll, and go from item to item among the items.
  if (event.key in SIGNS && !focused()) return;
  const binding = BINDINGS.find(([keys]) => keys.includes(event.key));
  if (!binding) return;
  event.preventDefault();
  binding[2]();
});

$("#key-list").replaceChildren(...BINDINGS.flatMap(([keys, text]) => [
  h("dt", {}, keys.map((key) => h("kbd", {}, SIGNS[key] ?? key))), h("dd", {}, text)]));
$("#open-help").addEventListener("click", () => $("#help-dialog").showModal());

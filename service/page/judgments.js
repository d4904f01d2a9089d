// Which items are relevant to which query, as this browser's user says; the file that `radsearch prepare` reads.

import { $, h, plural } from "./dom.js";

const STORE = "radsearch-judgments";
export const RELEVANT = 1, IRRELEVANT = 0;

const listeners = [];

/** A query as the training data stores it: equal queries are judged once. */
const cleaned = (query) => query.replace(/[\s\p{Cc}]+/gu, " ").trim();
const keyOf = (query, itemId) => JSON.stringify([cleaned(query), itemId]);

let judged = load(); // by query and item: {query, item_id, grade, title}

/** The grade of an item; undefined where there is none. */
export const gradeOf = (query, itemId) => judged.get(keyOf(query, itemId))?.grade;

/** Grade an item; the same grade again takes it back. */
export function judge(query, item, grade) {
  const place = keyOf(query, item.item_id);
  if (judged.get(place)?.grade === grade) judged.delete(place);
  else judged.set(place, { query: cleaned(query), item_id: item.item_id, grade, title: item.title });
  save();
}

/** Call a function after every change. */
export function onJudgments(listener) {
  listeners.push(listener);
}

/** Share of relevant items among those judged of the first n, and how many these are. */
export function precision(query, items, n = 10) {
  const grades = items.slice(0, n).map((item) => gradeOf(query, item.item_id)).filter((grade) => grade !== undefined);
  return { n: grades.length, share: grades.filter((grade) => grade === RELEVANT).length / grades.length };
}

/** RFC 4180. */
export function csv() {
  const quoted = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  const rows = [...judged.values()].map(({ query, item_id, grade }) => [query, item_id, grade].map(String).map(quoted).join(","));
  return ["query,item_id,grade", ...rows].map((row) => `${row}\r\n`).join("");
}

function load() {
  let rows = [];
  try {
    rows = JSON.parse(localStorage.getItem(STORE) ?? "[]");
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error; // what is damaged is as if it were not there
  }
  return new Map(rows.map((row) => [keyOf(row.query, row.item_id), row]));
}

function save() {
  localStorage.setItem(STORE, JSON.stringify([...judged.values()]));
  tell();
}

function tell() {
  $("#n-judgments").textContent = judged.size;
  for (const listener of listeners) listener();
}

/** The two keys' buttons for an item. */
export function judgeButtons(query, item) {
  const button = (grade, text, shortcut) =>
    h("button", { type: "button", class: "judge", "data-grade": grade, "aria-keyshortcuts": shortcut,
      onclick: (event) => { event.stopPropagation(); judge(query, item, grade); } }, text);
  const buttons = h("span", { class: "judging", role: "group", "aria-label": `Judge ${item.title}` },
    button(RELEVANT, "Relevant", "y"), button(IRRELEVANT, "Not", "n"));
  showGrade(buttons, query, item);
  return buttons;
}

/** Mark which of the buttons holds. */
export function showGrade(buttons, query, item) {
  const grade = gradeOf(query, item.item_id);
  for (const button of buttons.children) button.setAttribute("aria-pressed", String(Number(button.dataset.grade) === grade));
}

function list() {
  const byQuery = Map.groupBy(judged.values(), (row) => row.query);
  $("#judgments-summary").textContent = judged.size
    ? `${plural(judged.size, "judgment")} of ${plural(byQuery.size, "query", "queries")}; kept in this browser.`
    : "None yet: on an item press y where it is relevant, n where it is not.";
  $("#download-judgments").disabled = $("#clear-judgments").disabled = judged.size === 0;
  $("#clear-judgments").textContent = "Remove all";
  $("#judgments-list").replaceChildren(...[...byQuery].map(([query, rows]) => h("section", {}, h("h3", {}, query), h("ul", {},
    rows.map((row) => h("li", {},
      h("span", { class: row.grade ? "good" : "bad" }, row.grade ? "relevant" : "not relevant"), ` ${row.title} `,
      h("button", { type: "button", class: "plain", "aria-label": `Remove the judgment of ${row.title}`,
        onclick: () => judge(row.query, row, row.grade) }, "Remove")))))));
}

function download() {
  const link = h("a", { download: `judgments-${new Date().toISOString().slice(0, 10)}.csv` });
  link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href));
}

function clear() {
  const button = $("#clear-judgments");
  if (button.textContent === "Remove all") return void (button.textContent = "Really remove all?");
  judged = new Map();
  save();
}

export function openJudgments() {
  list();
  $("#judgments-dialog").showModal();
}

onJudgments(list);
$("#open-judgments").addEventListener("click", openJudgments);
$("#download-judgments").addEventListener("click", download);
$("#clear-judgments").addEventListener("click", clear);
addEventListener("storage", (event) => {
  if (event.key !== STORE) return;
  judged = load(); // another tab has judged
  tell();
});
tell();

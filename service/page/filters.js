// Filters out of what the catalogue holds: values with their counts, bounds for numbers.

import { fixed, h, inWords, named, whole } from "./dom.js";

const FEW = 6; // values that show before "more"
const OPEN = 4; // attributes that show their values at first

const listed = (condition) => (Array.isArray(condition) ? condition : [condition]);
const isRange = (condition) => condition !== null && typeof condition === "object" && !Array.isArray(condition);

/** The filters with another condition on one attribute; undefined takes it away. */
export function withCondition(filters, name, condition) {
  const { [name]: _, ...others } = filters;
  const isEmpty = condition === undefined || (typeof condition === "object" && Object.keys(condition).length === 0);
  return isEmpty ? others : { ...others, [name]: condition };
}

/** The conditions that hold, each with a button to take it away. */
export function filterChips(filters, onchange) {
  const chip = (name, text, condition) =>
    h("li", {}, h("button", { type: "button", class: "chip", onclick: () => onchange(withCondition(filters, name, condition)),
      "aria-label": `Take the filter ${named(name)} ${text} away` }, `${named(name)}: ${text}`, h("span", { "aria-hidden": "true" }, " ×")));
  const chips = Object.entries(filters).flatMap(([name, condition]) => {
    if (isRange(condition)) return [chip(name, Object.entries(condition).map(([bound, limit]) => `${SIGNS[bound] ?? bound} ${limit}`).join(", "))];
    return listed(condition).map((value) => chip(name, inWords(value), Array.isArray(condition) ? condition.filter((one) => one !== value) : undefined));
  });
  return h("ul", { class: "chips", "aria-label": "Filters that hold", hidden: chips.length === 0 }, chips);
}

const SIGNS = { gte: "≥", lte: "≤", gt: ">", lt: "<" };

/** A panel of all attributes; `show` brings it in line with the filters that hold. */
export function filterPanel(attributes, onchange) {
  let held = {};
  const change = (name, condition) => onchange(withCondition(held, name, condition));
  const parts = attributes
    .filter((attribute) => attribute.items > 0 && isTelling(attribute))
    .map((attribute, place) => {
      const make = attribute.deciles.length ? numbers : typeof attribute.most_frequent[0].value === "boolean" ? truths : texts;
      const part = make(attribute, (condition) => change(attribute.name, condition));
      const element = h("details", { class: "facet", open: place < OPEN }, h("summary", {}, named(attribute.name)), part.element);
      return { name: attribute.name, element, show: part.show };
    });
  return {
    element: h("div", { class: "facets" }, parts.map((part) => part.element)),
    show(filters) {
      held = filters;
      for (const part of parts) {
        part.show(filters[part.name]);
        if (part.name in filters) part.element.open = true;
      }
    },
  };
}

/** Whether its values say something about more than one item. */
const isTelling = ({ deciles, most_frequent: [first] }) => deciles.length > 0 || (first !== undefined && first.items > 1);

function texts({ name, most_frequent: values, values: n }, change) {
  const boxes = values.map(({ value, items }) => {
    const box = h("input", { type: "checkbox", id: `filter-${name}-${value}`, onchange: () => change(boxes.filter((one) => one.box.checked).map((one) => one.value)) });
    return { value, box, row: h("li", {}, h("label", { for: box.id }, box, h("span", { class: "value" }, value), h("span", { class: "count" }, whole(items)))) };
  });
  const list = h("ul", { class: "few" }, boxes.map((one) => one.row));
  const more = h("button", { type: "button", class: "plain", onclick: () => { list.classList.remove("few"); more.remove(); } },
    n > values.length ? `${values.length} of ${whole(n)}` : `All ${n}`);
  return {
    element: h("fieldset", {}, h("legend", { class: "unseen" }, named(name)), list, boxes.length > FEW && more),
    show: (condition) => {
      const wanted = condition === undefined || isRange(condition) ? [] : listed(condition);
      for (const one of boxes) one.box.checked = wanted.includes(one.value);
    },
  };
}

function truths({ name, most_frequent: values }, change) {
  const choices = [[undefined, "any"], ...values.map(({ value, items }) => [value, inWords(value), items])].map(([value, text, items]) => {
    const box = h("input", { type: "radio", name: `filter-${name}`, id: `filter-${name}-${text}`, onchange: () => change(value) });
    return { value, box, row: h("li", {}, h("label", { for: box.id }, box, h("span", { class: "value" }, text), h("span", { class: "count" }, items === undefined ? "" : whole(items)))) };
  });
  return {
    element: h("fieldset", {}, h("legend", { class: "unseen" }, named(name)), h("ul", {}, choices.map((one) => one.row))),
    show: (condition) => {
      for (const one of choices) one.box.checked = one.value === condition;
    },
  };
}

function numbers({ name, deciles }, change) {
  const [least, median, greatest] = [deciles[0], deciles[5], deciles[10]];
  const bounds = { gte: ["from", least], lte: ["to", greatest] };
  const inputs = Object.entries(bounds).map(([bound, [text, limit]]) => [bound,
    h("input", { type: "number", step: "any", id: `filter-${name}-${bound}`, placeholder: short(limit), "aria-label": `${named(name)} ${text}`, onchange: send })]);
  function send() {
    const given = inputs.filter(([, input]) => input.value !== "" && Number.isFinite(input.valueAsNumber));
    change(Object.fromEntries(given.map(([bound, input]) => [bound, input.valueAsNumber])));
  }
  return {
    element: h("fieldset", {}, h("legend", { class: "unseen" }, named(name)),
      h("div", { class: "range" }, inputs[0][1], h("span", { "aria-hidden": "true" }, "–"), inputs[1][1]),
      h("p", { class: "quiet small" }, `median ${short(median)}, nine of ten up to ${short(deciles[9])}`)),
    show: (condition) => {
      for (const [bound, input] of inputs) input.value = isRange(condition) ? (condition[bound] ?? "") : "";
    },
  };
}

const short = (number) => (Number.isInteger(number) ? String(number) : fixed(number));

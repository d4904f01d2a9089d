// Elements and words; texts of items only ever become text nodes.

/** An element with attributes, listeners ("onclick"), custom properties ("--share") and children. */
export function h(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) element.style.setProperty(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An element in the SVG namespace. */
export function svg(tag, given = {}) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(given)) element.setAttribute(name, value);
  return element;
}

export const $ = (selector, within = document) => within.querySelector(selector);
export const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];

const WHOLE = new Intl.NumberFormat("en");
export const whole = (number) => WHOLE.format(number);
export const fixed = (number, digits = 2) => number.toFixed(digits).replace("-", "−");
export const percent = (share) => `${fixed(100 * share, share > 0 && share < 0.1 ? 1 : 0)}%`;
export const plural = (n, one, many = `${one}s`) => `${whole(n)} ${n === 1 ? one : many}`;

/** A value of an attribute, in words. */
export function inWords(value) {
  if (value === true) return "yes";
  if (value === false) return "no";
  return Array.isArray(value) ? value.join(", ") : String(value);
}

export const named = (attribute) => attribute.replaceAll("_", " ");
export const sidText = (codes) => codes.join("-");

/** What titles have in common: the words that stand in all of them; the first title where one says too little. */
export function inCommon([first = "", ...others]) {
  const words = others.map((title) => new Set(title.toLowerCase().split(/\s+/)));
  const shared = first.split(/\s+/).filter((word) => /\p{L}/u.test(word) && words.every((set) => set.has(word.toLowerCase())));
  return shared.length > 1 ? shared.join(" ") : first;
}

/** What a control sets: a label around it. */
export function field(text, control) {
  return h("label", { class: "field" }, h("span", {}, text), control);
}

/** A select with options given as [value, text]. */
export function choice(options, value, onchange) {
  const element = h("select", { onchange: () => onchange(element.value) });
  element.append(...options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)));
  return element;
}

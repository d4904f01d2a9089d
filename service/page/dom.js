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

/** What a prefix means: the words that tell its items from others; its title where it has one item, or no such words. */
export const meaning = ({ items, titles, words }) => (items > 1 && words.length ? words.join(" · ") : (titles[0] ?? ""));

/** What a control sets: a label around it. */
export function field(text, control) {
  return h("label", { class: "field" }, h("span", {}, text), control);
}


// What is looked at, all of it in the address: a link shows another person the same.

const DEFAULTS = {
  view: "search",
  q: "",
  k: 24, // items
  beam: 0, // beam width; 0 leaves it to the variant
  variant: "", // "" is who the experiment assigns
  filters: {},
  why: false, // the beam instead of the cards
  a: "", // variants compared
  b: "",
  abeam: 0,
  bbeam: 0,
  atau: "", // a number; "" leaves it to the bundle
  btau: "",
  afilters: true,
  bfilters: true,
  at: "", // prefix looked at on the map
};

const listeners = [];
let state = read();

export const current = () => state;

/** Call a function with every state that comes. */
export function onState(listener) {
  listeners.push(listener);
}

/** Change what is looked at; `replace` does so without an entry in the browser's history. */
export function go(changes, { replace = false } = {}) {
  state = { ...state, ...changes };
  const address = addressOf(state);
  if (address !== location.pathname + location.search) history[replace ? "replaceState" : "pushState"](null, "", address);
  tell();
}

/** The address of a state; what is as by default is left out. */
export function addressOf(wanted) {
  const query = new URLSearchParams();
  for (const [name, initial] of Object.entries(DEFAULTS)) {
    const value = wanted[name];
    const text = typeof value === "object" ? JSON.stringify(value) : String(value);
    if (text !== (typeof initial === "object" ? JSON.stringify(initial) : String(initial))) query.set(name, text);
  }
  return query.size ? `/?${query}` : "/";
}

function read() {
  const query = new URLSearchParams(location.search);
  const found = {};
  for (const [name, initial] of Object.entries(DEFAULTS)) found[name] = parsed(query.get(name), initial);
  return found;
}

/** A value of the address; what makes no sense is as if it were not there. */
function parsed(text, initial) {
  if (text === null) return initial;
  if (typeof initial === "boolean") return text === "true";
  if (typeof initial === "number") return Number.isInteger(Number(text)) && Number(text) >= 0 ? Number(text) : initial;
  if (typeof initial !== "object") return text;
  try {
    const value = JSON.parse(text);
    return value && typeof value === "object" && !Array.isArray(value) ? value : initial;
  } catch {
    return initial;
  }
}

function tell() {
  for (const listener of listeners) listener(state);
}

addEventListener("popstate", () => {
  state = read();
  tell();
});

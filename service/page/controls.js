// What a view can be set by. Controls stay where they are while their values change, so the focus stays, too.

import { field, h } from "./dom.js";

/** A number that may be left open; `show` brings it in line with a value, unless somebody is writing there. */
export function number(text, given, onchange) {
  const input = h("input", { type: "number", ...given, onchange: () => input.checkValidity() && onchange(input.value) });
  return { element: field(text, input), input, show: (value) => void (input === document.activeElement || (input.value = value)) };
}

/** A select with options given as [value, text]. */
export function choice(text, options, onchange) {
  const select = h("select", { onchange: () => onchange(select.value) }, options.map(([value, name]) => h("option", { value }, name)));
  return { element: field(text, select), show: (value) => void (select.value = value) };
}

/** A variant, or whoever is assigned. */
export const variantChoice = (names, onchange) => choice("Variant", [["", "as assigned"], ...names.map((name) => [name, name])], onchange);

/** A box to tick. */
export function tick(text, onchange) {
  const input = h("input", { type: "checkbox", onchange: () => onchange(input.checked) });
  return { element: field(text, input), show: (isOn) => void (input.checked = isOn) };
}

/** Shows controls in a host; `make(offer)` gives their elements and `show(state)`, and is asked again when the offer changes. */
export function kept(host, make) {
  let offered = null, made = null;
  return (offer, state) => {
    const key = JSON.stringify(offer);
    if (key !== offered) {
      offered = key;
      made = make(offer);
      host.replaceChildren(...made.elements);
    }
    made.show(state);
  };
}

// Why these results: the beam as a tree, level by level, and the path of an item through it.

import * as api from "./api.js";
import { $, $$, fixed, h, meaning, percent, plural, sidText, svg, whole } from "./dom.js";

let wanted = null; // item_id whose path the next tree lights

/** Let the next tree light the path of an item. */
export const lightNext = (itemId) => void (wanted = itemId);

const FEW = 12; // prefixes of a level that show although no item of the answer is under them

/** The tree of an answer with an explanation; resolves at once, meanings come in later. */
export async function whyTree(answer, state, signal) {
  const model = (await api.models()).models.find((each) => each.variant === answer.variant);
  const levels = treeOf(answer);
  const host = h("div", { class: "tree scroll", tabindex: "0", role: "region", "aria-label": "The beam, level by level" });
  const path = h("div", { class: "path", "aria-live": "polite" });
  const view = { host, path, levels, answer, sizes: model?.codebook_sizes ?? [], meanings: new Map(), all: false, pinned: null };
  draw(view);
  explainMeanings(view, answer.variant, signal);
  new ResizeObserver(() => drawEdges(view)).observe(host);
  const first = answer.items.find((item) => item.item_id === wanted) ?? answer.items[0];
  if (first) {
    pin(view, sidText(first.sid), first.item_id);
    requestAnimationFrame(() => scrollTo(host, $(".item-node.lit", host)));
  }
  wanted = null;
  return [host, path];
}

/** Per level a map of prefixes: what is known of each, its parent, and the items under it. */
function treeOf({ explanation, items }) {
  const levels = explanation.kept.map((kept, level) => {
    const nodes = new Map();
    kept.forEach((one, place) => nodes.set(sidText(one.prefix), { ...one, level, rank: place + 1, kept: true, items: [] }));
    for (const one of explanation.pruned[level]) nodes.set(sidText(one.prefix), { ...one, level, kept: false, items: [] });
    return nodes;
  });
  for (const [level, nodes] of levels.entries()) {
    for (const [key, node] of nodes) {
      node.key = key;
      node.parent = level ? levels[level - 1].get(sidText(node.prefix.slice(0, -1))) : null;
      node.own = node.log_prob - (node.parent?.log_prob ?? 0);
    }
  }
  items.forEach((item, place) => {
    for (let node = levels.at(-1).get(sidText(item.sid)); node; node = node.parent) node.items.push(place);
  });
  return levels;
}

/** The nodes of each level that show: those with items first, then the best others, what was pruned, and all above these. */
function visible({ levels, all }) {
  const shown = levels.map((nodes) => {
    const others = [...nodes.values()].filter((node) => node.kept && !node.items.length);
    return new Set([...nodes.values()].filter((node) => all || !node.kept || node.items.length).concat(others.slice(0, FEW)));
  });
  for (let level = levels.length - 1; level > 0; level--) for (const node of shown[level]) shown[level - 1].add(node.parent);
  let order = new Map([[null, 0]]);
  return shown.map((nodes) => {
    const best = (node) => node.items[0] ?? (node.kept ? 1e6 + node.rank : 1e9 + node.behind);
    const without = (node) => Number(!node.items.length);
    const sorted = [...nodes].sort((a, b) => without(a) - without(b) || order.get(a.parent) - order.get(b.parent) || best(a) - best(b));
    order = new Map(sorted.map((node, place) => [node, place]));
    return sorted;
  });
}

function draw(view) {
  const columns = visible(view).map((nodes, level) => h("section", { class: "column" }, levelHead(view, level), h("ol", {}, nodes.map((node) => h("li", {}, nodeButton(view, node)))),
    !view.all && hidden(view, level, nodes)));
  const items = h("section", { class: "column items" },
    h("div", { class: "head" }, h("h3", {}, "Items"), h("p", { class: "quiet small" }, "of these SIDs, the best by score")),
    h("ol", {}, view.answer.items.map((item, place) => h("li", {}, itemButton(view, item, place)))));
  view.edges = svg("svg", { class: "edges", "aria-hidden": "true" });
  view.host.replaceChildren(view.edges, ...columns, items);
  view.host.onkeydown = (event) => walk(view, event);
  requestAnimationFrame(() => drawEdges(view));
}

/** What of all continuations was cut, by whom. */
function levelHead({ answer, levels, sizes }, level) {
  const { root, kept, pruned } = answer.explanation;
  const before = level ? kept[level - 1] : [root];
  const [inTrie, alive] = ["in_trie", "alive"].map((field) => before.reduce((sum, one) => sum + one[field], 0));
  const possible = sizes[level] * before.length;
  const step = (n, text, title) => h("li", { title }, h("b", {}, whole(n)), ` ${text}`);
  return h("div", { class: "head" }, h("h3", {}, `Level ${level}`), h("ul", { class: "cuts" },
    step(possible, "continuations", `${plural(before.length, "prefix", "prefixes")} × ${sizes[level]} codes`),
    step(possible - inTrie, "cut by the trie", "No SID has them"),
    step(inTrie - alive, "cut by the filter", "No item under them is on offer and meets the filter"),
    step(alive - kept[level].length, "pruned", "Less likely than the beams that went on"),
    step(kept[level].length, "went on", pruned[level].length ? `The last at log p ${fixed(kept[level].at(-1).log_prob)}` : "All there were")));
}

function hidden(view, level, nodes) {
  const n = view.levels[level].size - nodes.length;
  return n > 0 && h("button", { type: "button", class: "plain", onclick: () => { view.all = true; draw(view); } }, `${whole(n)} more went on`);
}

function nodeButton(view, node) {
  const told = view.meanings.get(node.key);
  const button = h("button", { type: "button", class: `node ${node.kept ? "kept" : "pruned"}`, "data-key": node.key, "--share": Math.exp(node.own),
    title: told && `${plural(told.items, "item")}: ${told.titles.join(" · ")}` },
    h("span", { class: "line" }, h("b", { class: "sid" }, String(node.prefix.at(-1))), h("span", {}, percent(Math.exp(node.own))),
      h("span", { class: "quiet" }, node.kept ? `log p ${fixed(node.log_prob)}` : `pruned, ${fixed(node.behind)} behind`),
      node.alive < node.in_trie && h("span", { class: "bad", title: `Of ${plural(node.in_trie, "code")} that may follow` }, `filter cuts ${whole(node.in_trie - node.alive)}`)),
    h("span", { class: "meaning" }, told ? meaning(told) : "…"));
  return lights(view, button, node.key);
}

function itemButton(view, item, place) {
  const button = h("button", { type: "button", class: "node item-node", "data-item": item.item_id, "data-under": sidText(item.sid) },
    h("span", { class: "line" }, h("b", {}, `${place + 1}.`), h("span", { class: "quiet" }, fixed(item.score, 3))), h("span", { class: "meaning" }, item.title));
  return lights(view, button, sidText(item.sid), item.item_id);
}

function lights(view, button, key, itemId) {
  for (const kind of ["pointerenter", "focus"]) button.addEventListener(kind, () => light(view, key, itemId));
  button.addEventListener("pointerleave", () => view.pinned && light(view, ...view.pinned));
  button.addEventListener("click", () => pin(view, key, itemId));
  return button;
}

/** Bring an element into sight, up or down only. */
function scrollTo(host, element) {
  if (!element) return;
  const [outer, inner] = [host, element].map((each) => each.getBoundingClientRect());
  if (inner.bottom > outer.bottom || inner.top < outer.top) host.scrollTop += inner.top - (outer.top + outer.bottom) / 2;
}

function pin(view, key, itemId) {
  view.pinned = [key, itemId];
  light(view, key, itemId);
}

/** Light what leads to a prefix and what lies under it; of an item, its own path. */
function light(view, key, itemId) {
  const onPath = (other) => key === other || key.startsWith(`${other}-`);
  const isUnder = (other) => !itemId && other.startsWith(`${key}-`);
  for (const button of $$(".node", view.host)) {
    const own = button.dataset.key;
    const isLit = own ? onPath(own) || isUnder(own) : itemId ? button.dataset.item === itemId : button.dataset.under === key || isUnder(button.dataset.under);
    button.classList.toggle("lit", isLit);
  }
  view.host.classList.add("lighting");
  view.lit = [key, itemId];
  lightEdges(view);
  tellPath(view, key, itemId);
}

function lightEdges(view) {
  for (const edge of view.edges.children) {
    const isLit = [edge.dataset.from, edge.dataset.to].every((end) => $(`.lit[data-key="${end}"], .lit[data-item="${CSS.escape(end)}"]`, view.host));
    edge.classList.toggle("lit", isLit);
  }
}

/** The lit path in words. */
function tellPath({ path, levels, answer, meanings }, key, itemId) {
  const codes = key.split("-");
  const nodes = codes.map((_, level) => levels[level].get(codes.slice(0, level + 1).join("-")));
  const item = answer.items.find((each) => each.item_id === itemId);
  const rows = nodes.map((node) => {
    const { pruned, kept } = { pruned: answer.explanation.pruned[node.level], kept: answer.explanation.kept[node.level] };
    const margin = node.kept ? (pruned.length ? `${fixed(node.log_prob - pruned[0].log_prob)} above the best pruned` : "nothing was pruned") : `${fixed(node.behind)} behind the last that went on`;
    const wayOn = node.kept && node.in_trie ? `${node.in_trie} in the trie, ${node.alive} after the filter` : "–";
    return h("tr", {}, h("th", { scope: "row" }, `Level ${node.level}`), h("td", { class: "sid" }, String(node.prefix.at(-1))),
      meaningCell(meanings.get(node.key)), h("td", {}, fixed(node.own)), h("td", {}, fixed(node.log_prob)),
      h("td", {}, node.kept ? `${node.rank} of ${kept.length}` : "pruned"), h("td", {}, margin), h("td", {}, wayOn));
  });
  const heads = ["", "Code", "What lies under the prefix", "log p of the code", "log p of the prefix", "Rank", "Margin", "Codes that may follow"];
  path.replaceChildren(h("h3", {}, item ? item.title : `Prefix ${key}`), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "The lit path" },
    h("table", {}, h("thead", {}, h("tr", {}, heads.map((text) => (text ? h("th", { scope: "col" }, text) : h("td"))))), h("tbody", {}, rows))));
}

function meaningCell(told) {
  if (!told) return h("td", {});
  return h("td", {}, h("b", {}, told.words.join(" · ")), h("span", { class: "quiet" }, ` ${plural(told.items, "item")}, such as `),
    told.titles.join(" · "));
}

function drawEdges(view) {
  if (!view.host.isConnected) return;
  view.edges.replaceChildren();
  view.edges.setAttribute("width", view.host.scrollWidth);
  view.edges.setAttribute("height", view.host.scrollHeight);
  const origin = view.host.getBoundingClientRect();
  const box = (element) => {
    const { left, right, top, bottom } = element.getBoundingClientRect();
    const across = view.host.scrollLeft - origin.left;
    return { left: left + across, right: right + across, middle: (top + bottom) / 2 + view.host.scrollTop - origin.top };
  };
  const boxes = new Map($$(".node[data-key]", view.host).map((button) => [button.dataset.key, box(button)]));
  for (const button of $$(".node", view.host)) {
    const above = button.dataset.key ? button.dataset.key.split("-").slice(0, -1).join("-") : button.dataset.under;
    const from = boxes.get(above);
    if (!from) continue;
    const to = box(button), bend = (to.left - from.right) / 2;
    const edge = svg("path", { d: `M${from.right} ${from.middle}c${bend} 0 ${bend} ${to.middle - from.middle} ${2 * bend} ${to.middle - from.middle}` });
    edge.dataset.from = above;
    edge.dataset.to = button.dataset.key ?? button.dataset.item;
    if (button.classList.contains("pruned")) edge.classList.add("pruned");
    view.edges.append(edge);
  }
  if (view.lit) lightEdges(view);
}

/** Say what the prefixes mean, as soon as the service has told. */
async function explainMeanings(view, variant, signal) {
  const prefixes = view.levels.flatMap((nodes) => [...nodes.values()].map((node) => node.prefix));
  try {
    for (let first = 0; first < prefixes.length; first += 1000) {
      const told = await api.titles(prefixes.slice(first, first + 1000), variant, signal);
      for (const node of told.prefixes) view.meanings.set(sidText(node.prefix), node);
    }
  } catch (error) {
    if (error.name !== "AbortError") view.path.append(h("p", { class: "quiet" }, `What the codes mean is not known: ${error.message}`));
    return;
  }
  const focused = document.activeElement?.dataset?.key;
  draw(view);
  if (focused) $(`[data-key="${focused}"]`, view.host)?.focus({ preventScroll: true });
  if (view.lit) light(view, ...view.lit);
}

/** Arrow keys go along a column, to the parent, and to the first child. */
function walk(view, event) {
  const button = event.target.closest(".node");
  const column = event.target.closest(".column");
  if (!button) return;
  const within = $$(".node", column);
  const key = button.dataset.key ?? button.dataset.under;
  const targets = {
    ArrowDown: () => within[within.indexOf(button) + 1],
    ArrowUp: () => within[within.indexOf(button) - 1],
    ArrowLeft: () => $(`[data-key="${button.dataset.item ? key : key.split("-").slice(0, -1).join("-")}"]`, view.host),
    ArrowRight: () => $$(".node", column.nextElementSibling ?? column).find((other) => (other.dataset.key ?? other.dataset.under).startsWith(key)),
  };
  const target = targets[event.key]?.();
  if (!target) return;
  event.preventDefault();
  target.focus();
}

// The search page: one request to /v1/search per query, results as cards.

const form = document.querySelector("#search");
const input = document.querySelector("#query");
const status = document.querySelector("#status");
const results = document.querySelector("#results");
const examples = document.querySelector("#examples");
const template = document.querySelector("#item");

const PAGE_SIZE = 24;
let running = null; // AbortController of the request in flight

async function search(query) {
  running?.abort();
  const mine = (running = new AbortController());
  results.classList.add("waiting");
  const started = performance.now();
  try {
    const response = await fetch("/v1/search", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ query, k: PAGE_SIZE }),
      signal: mine.signal,
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.detail);
    show(answer, performance.now() - started);
  } catch (error) {
    if (error.name === "AbortError") return;
    results.replaceChildren();
    say(error.message, true);
  }
  results.classList.remove("waiting");
}

function show(answer, roundTrip) {
  const parts = [
    `${answer.returned} ${answer.returned === 1 ? "item" : "items"}`,
    `${answer.timings_ms.total.toFixed(1)} ms (${roundTrip.toFixed(0)} ms with the network)`,
    `variant ${answer.variant}`,
  ];
  if (answer.degraded.length) parts.push(`away: ${answer.degraded.join(", ")}`);
  say(parts.join(" · "), false);
  results.replaceChildren(...answer.items.map((item) => card(item, answer.request_id)));
}

function card(item, requestId) {
  const element = template.content.cloneNode(true).firstElementChild;
  element.querySelector("h2").textContent = item.title;
  const list = element.querySelector("dl");
  for (const [name, value] of Object.entries(item.attributes)) {
    if (name === "price") continue;
    const term = document.createElement("dt");
    const description = document.createElement("dd");
    term.textContent = name.replaceAll("_", " ");
    description.textContent = inWords(value);
    list.append(term, description);
  }
  const price = item.attributes.price;
  element.querySelector(".price").textContent = typeof price === "number" ? price.toFixed(2) : "";
  element.querySelector(".sid").textContent = item.sid.join("-");
  element.querySelector(".sid").title = "Semantic ID";
  element.querySelector(".score").textContent = item.score.toFixed(3);
  element.querySelector(".score").title = "score";
  element.addEventListener("click", () => note("click", requestId, item.item_id), { once: true });
  return element;
}

function inWords(value) {
  if (value === true) return "yes";
  if (value === false) return "no";
  return Array.isArray(value) ? value.join(", ") : String(value);
}

function note(type, requestId, itemId) {
  const body = JSON.stringify({ type, request_id: requestId, item_id: itemId });
  fetch("/v1/events", { method: "POST", headers: { "Content-Type": "application/json" }, body, keepalive: true });
}

function say(text, isBad) {
  status.textContent = text;
  status.classList.toggle("bad", isBad);
}

function ask(query) {
  input.value = query;
  const address = new URL(location.href);
  address.searchParams.set("q", query);
  history.pushState(null, "", address);
  search(query);
}

function fromAddress() {
  const query = new URLSearchParams(location.search).get("q") ?? "";
  input.value = query;
  if (query) search(query);
}

async function offerExamples() {
  const response = await fetch("/v1/models");
  if (!response.ok) return;
  for (const query of (await response.json()).examples) {
    const entry = document.createElement("li");
    const chip = document.createElement("button");
    chip.type = "button";
    chip.textContent = query;
    chip.addEventListener("click", () => ask(query));
    entry.append(chip);
    examples.append(entry);
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  ask(input.value);
});
addEventListener("popstate", fromAddress);
offerExamples();
fromAddress();

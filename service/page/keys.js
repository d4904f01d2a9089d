// The key that is sent with every request, where the service asks for one.

import { forget, key } from "./api.js";
import { $ } from "./dom.js";

const dialog = $("#key-dialog");
const input = $("#key");
const listeners = [];

/** Call a function when another key is used. */
export function onKey(listener) {
  listeners.push(listener);
}

export function openKey() {
  input.value = key.get();
  dialog.showModal();
  input.select();
}

function use(value) {
  key.set(value.trim());
  show();
  forget();
  dialog.close();
  for (const listener of listeners) listener();
}

function show() {
  $("#open-key").textContent = key.get() ? "Key: set" : "Key";
}

$("#open-key").addEventListener("click", openKey);
$("#key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  use(input.value);
});
$("#forget-key").addEventListener("click", () => use(""));
show();

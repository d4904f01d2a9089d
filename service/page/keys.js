// The keys that are sent where the service asks for some.

import { forget, keys } from "./api.js";
import { $ } from "./dom.js";

const SCOPES = ["search", "admin"];

const dialog = $("#key-dialog");
const inputs = Object.fromEntries(SCOPES.map((scope) => [scope, $(`#${scope}-key`)]));
const listeners = [];

/** Call a function when other keys are used. */
export function onKey(listener) {
  listeners.push(listener);
}

export function openKey() {
  for (const scope of SCOPES) inputs[scope].value = keys.get(scope);
  dialog.showModal();
}

function use(valueOf) {
  for (const scope of SCOPES) keys.set(scope, valueOf(scope));
  show();
  forget();
  dialog.close();
  for (const listener of listeners) listener();
}

function show() {
  const held = SCOPES.filter((scope) => keys.get(scope));
  $("#open-key").textContent = held.length ? `Keys: ${held.join(", ")}` : "Keys";
}

$("#open-key").addEventListener("click", openKey);
$("#key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  use((scope) => inputs[scope].value.trim());
});
$("#forget-keys").addEventListener("click", () => use(() => ""));
show();

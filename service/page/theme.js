// Light, dark, or as the system has it.

import { $ } from "./dom.js";

const THEME = "radsearch-theme";
const THEMES = ["auto", "light", "dark"];

function show(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  $("#theme").textContent = `Theme: ${theme}`;
}

export function nextTheme() {
  const theme = THEMES[(THEMES.indexOf(stored()) + 1) % THEMES.length];
  localStorage.setItem(THEME, theme);
  show(theme);
}

function stored() {
  const theme = localStorage.getItem(THEME);
  return THEMES.includes(theme) ? theme : "auto";
}

show(stored());
$("#theme").addEventListener("click", nextTheme);

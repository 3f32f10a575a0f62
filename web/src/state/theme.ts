/** Light or dark: the system's choice unless a person made one. */

import { computed, effect, signal } from "@preact/signals";
import { darkTheme, lightTheme } from "../model/color";

export type ThemeChoice = "system" | "light" | "dark";

const THEME_KEY = "profiler-theme";
const systemDark = matchMedia("(prefers-color-scheme: dark)");
const prefersDark = signal(systemDark.matches);
systemDark.addEventListener("change", () => {
  prefersDark.value = systemDark.matches;
});

export const themeChoice = signal<ThemeChoice>(storedTheme());
export const isDark = computed(() =>
  themeChoice.value === "system" ? prefersDark.value : themeChoice.value === "dark",
);
export const theme = computed(() => (isDark.value ? darkTheme() : lightTheme()));

effect(() => {
  document.documentElement.dataset.theme = isDark.value ? "dark" : "light";
});

/** The choice after this one. */
export function nextTheme(): void {
  const choice = themeChoice.peek();
  themeChoice.value = choice === "system" ? "light" : choice === "light" ? "dark" : "system";
  try {
    localStorage.setItem(THEME_KEY, themeChoice.value);
  } catch {
    // Storage may be forbidden; the choice then lasts as long as the page.
  }
}

function storedTheme(): ThemeChoice {
  try {
    const stored = localStorage.getItem(THEME_KEY);
    return stored === "light" || stored === "dark" ? stored : "system";
  } catch {
    return "system";
  }
}

/**
 * The colours of the flame graph, as data: one fill and one text colour for each ink and theme. Which frame has which ink is
 * `model/coloring.ts`'s affair.
 *
 * Blue and orange carry the main difference (native and kernel; less and more), so that it survives the common colour
 * blindnesses; the categories are Paul Tol's "light" scheme (<https://personal.sron.nl/~pault/>), made for that. A unit test
 * holds every text/fill pair to a contrast of 4.5:1.
 */

import { KIND_COUNT } from "./call-tree";

export interface Ink {
  fill: string;
  text: string;
}

export interface FlameTheme {
  background: string;
  /** By kind and shade, then category and shade, then strength of a difference: see `kindInk`, `categoryInk`, `diffInk`. */
  inks: readonly Ink[];
  /** The same, for frames that a search did not match. */
  faded: readonly Ink[];
  match: Ink;
  /** Subtrees too narrow to draw. */
  skyline: string;
  /** Stripes over notes (a stack cut short). */
  hatch: string;
  /** Ring around the selected frame. */
  selection: string;
  /** Ring around the frame under the pointer. */
  hover: string;
}

/** Shades a kind: enough to tell neighbours apart, few enough to stay one colour. */
export const SHADES = 3;

/** Fills by kind: light theme, dark theme. */
const FILLS: readonly (readonly [string, string])[] = [
  ["#d5dae1", "#39424f"], // root
  ["#dde2ea", "#38414e"], // process
  ["#9cc3f5", "#2c5a94"], // user
  ["#f8b878", "#8a4d12"], // kernel
  ["#7fd6c8", "#14645d"], // inlined
  ["#c4c9d1", "#525a66"], // unknown
  ["#f7dc86", "#6b540a"], // note
  ["#e3e6ea", "#333a44"], // remainder
  ["#b9dc6e", "#4a6412"], // JIT
];

/** Categories with a colour of their own; one more stands for all others. */
export const CATEGORIES = 8;
/** Steps of a difference, each way. */
export const DIFF_STEPS = 4;

const CATEGORY_FILLS: readonly string[] = [
  "#77aadd",
  "#ee8866",
  "#eedd88",
  "#ffaabb",
  "#99ddff",
  "#44bb99",
  "#bbcc33",
  "#aaaa00",
  "#d5d8dd",
];
/** Least, none, most: light theme, dark theme. */
const DIFF_FILLS = {
  light: ["#6ea6f0", "#e6e9ed", "#f3964a"],
  dark: ["#2463b4", "#363e49", "#9a5012"],
} as const;

export function kindInk(kind: number, shade = 0): number {
  return Math.min(kind, KIND_COUNT - 1) * SHADES + shade;
}

/** `category` up to `CATEGORIES`, which is "others". */
export function categoryInk(category: number, shade = 0): number {
  return (KIND_COUNT + category) * SHADES + shade;
}

/** `step` from `-DIFF_STEPS` (less) to `DIFF_STEPS` (more); 0 is no difference, or none that can be told from noise. */
export function diffInk(step: number): number {
  return (KIND_COUNT + CATEGORIES + 1) * SHADES + DIFF_STEPS + step;
}

/** How many inks a theme has. */
export const INK_COUNT = diffInk(DIFF_STEPS) + 1;

/** A page that opens needs one theme, and needs it soon. */
function once(make: () => FlameTheme): () => FlameTheme {
  let made: FlameTheme | null = null;
  return () => {
    made ??= make();
    return made;
  };
}

export const lightTheme = once(() =>
  theme({
    background: "#ffffff",
    fills: [...FILLS.map(([light]) => light), ...CATEGORY_FILLS],
    diff: DIFF_FILLS.light,
    text: "#16191d",
    fadedText: "#4b5561",
    fade: 0.62,
    shade: 0.07,
    match: { fill: "#a3128f", text: "#ffffff" },
    skyline: "#b4bbc5",
    hatch: "#b98a00",
    selection: "#0b57d0",
    hover: "#16191d",
  }),
);

/** A light fill, dark enough for light text. */
function darkened(fill: string): string {
  let dark = fill;
  for (let share = 0.3; contrast(dark, "#f2f5f8") < 5 && share < 1; share += 0.02) dark = mix(fill, "#0a0d11", share);
  return dark;
}

export const darkTheme = once(() =>
  theme({
    background: "#14181d",
    fills: [...FILLS.map(([, dark]) => dark), ...CATEGORY_FILLS.map(darkened)],
    diff: DIFF_FILLS.dark,
    text: "#f2f5f8",
    fadedText: "#a9b3bf",
    fade: 0.62,
    shade: 0.1,
    match: { fill: "#ef8bdd", text: "#1d0b1a" },
    skyline: "#4a525d",
    hatch: "#c9a227",
    selection: "#8ab4ff",
    hover: "#f2f5f8",
  }),
);

function theme(base: {
  background: string;
  fills: readonly string[];
  diff: readonly [string, string, string];
  text: string;
  fadedText: string;
  /** How far faded frames go towards the background, 0 to 1. */
  fade: number;
  /** How far the shades of a kind spread towards the background. */
  shade: number;
  match: Ink;
  skyline: string;
  hatch: string;
  selection: string;
  hover: string;
}): FlameTheme {
  const { fills, diff, text, fadedText, fade, shade, ...rest } = base;
  const inks: Ink[] = [];
  const faded: Ink[] = [];
  const add = (fill: string): void => {
    inks.push({ fill, text });
    faded.push({ fill: mix(fill, base.background, fade), text: fadedText });
  };
  for (const fill of fills) for (let s = 0; s < SHADES; s++) add(mix(fill, base.background, s * shade));
  const [less, none, more] = diff;
  for (let step = -DIFF_STEPS; step <= DIFF_STEPS; step++) {
    add(mix(none, step < 0 ? less : more, Math.abs(step) / DIFF_STEPS));
  }
  return { ...rest, inks, faded };
}

/** `a` moved towards `b` by `share`, in sRGB. */
export function mix(a: string, b: string, share: number): string {
  const from = channels(a);
  const to = channels(b);
  return `#${from
    .map((value, i) =>
      Math.round(value + (to[i] - value) * share)
        .toString(16)
        .padStart(2, "0"),
    )
    .join("")}`;
}

/** Contrast ratio of two colours by WCAG 2, 1 to 21. */
export function contrast(a: string, b: string): number {
  const [darker, lighter] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (lighter + 0.05) / (darker + 0.05);
}

function luminance(color: string): number {
  const [r, g, b] = channels(color).map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function channels(color: string): [number, number, number] {
  return [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16)) as [number, number, number];
}

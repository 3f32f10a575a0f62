/**
 * The colours of the flame graph, as data: one fill and one text colour for each kind, shade and theme.
 *
 * Blue and orange carry the main difference (native and kernel), so that it survives the common colour blindnesses. A unit
 * test holds every text/fill pair to a contrast of 4.5:1.
 */

import { type FrameTable, KIND_COUNT } from "./call-tree";

export interface Ink {
  fill: string;
  text: string;
}

export interface FlameTheme {
  background: string;
  /** `inks[kind * SHADES + shade]`. */
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

/** What each kind is called in the legend. */
export const KIND_LABELS: readonly string[] = [
  "all",
  "process",
  "native",
  "kernel",
  "inlined",
  "no symbol",
  "cut short",
  "too small to send",
];

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
];

/** Index into `inks` of each frame. The shade comes from the name, so a function keeps its colour from day to day. */
export function frameInks(frames: FrameTable): Uint8Array {
  const inks = new Uint8Array(frames.name.length);
  for (let f = 0; f < inks.length; f++) {
    const kind = Math.min(frames.kind[f], KIND_COUNT - 1);
    inks[f] = kind * SHADES + (textHash(frames.strings[frames.name[f]]) % SHADES);
  }
  return inks;
}

function textHash(text: string): number {
  let hash = 2166136261;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 16777619);
  return (hash ^ (hash >>> 15)) >>> 0;
}

export const LIGHT_THEME: FlameTheme = theme({
  background: "#ffffff",
  fills: FILLS.map(([light]) => light),
  text: "#16191d",
  fadedText: "#4b5561",
  fade: 0.62,
  shade: 0.07,
  match: { fill: "#a3128f", text: "#ffffff" },
  skyline: "#b4bbc5",
  hatch: "#b98a00",
  selection: "#0b57d0",
  hover: "#16191d",
});

export const DARK_THEME: FlameTheme = theme({
  background: "#14181d",
  fills: FILLS.map(([, dark]) => dark),
  text: "#f2f5f8",
  fadedText: "#a9b3bf",
  fade: 0.62,
  shade: 0.1,
  match: { fill: "#ef8bdd", text: "#1d0b1a" },
  skyline: "#4a525d",
  hatch: "#c9a227",
  selection: "#8ab4ff",
  hover: "#f2f5f8",
});

function theme(base: {
  background: string;
  fills: readonly string[];
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
  const { fills, text, fadedText, fade, shade, ...rest } = base;
  const inks: Ink[] = [];
  const faded: Ink[] = [];
  for (const fill of fills) {
    for (let s = 0; s < SHADES; s++) {
      const shaded = mix(fill, base.background, s * shade);
      inks.push({ fill: shaded, text });
      faded.push({ fill: mix(shaded, base.background, fade), text: fadedText });
    }
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

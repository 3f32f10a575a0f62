/**
 * Which frame has which ink, and what the legend says about it: by kind, package, binary or name.
 *
 * The shade comes from the name, so a function keeps it from day to day. A category's colour comes from its name too; when
 * two of the largest want the same one, the smaller takes the next that is free. A legend entry is a search for its frames.
 */

import { type CallTree, FrameKind, KIND_COUNT, KIND_NAMES } from "./call-tree";
import { CATEGORIES, categoryInk, kindInk, SHADES } from "./color";
import { isCode } from "./function";
import { packageOf } from "./package";
import { baseName } from "./units";

export const COLOR_MODES = ["kind", "package", "binary", "name"] as const;
export type ColorMode = (typeof COLOR_MODES)[number];

export interface LegendEntry {
  label: string;
  /** Index into a theme's inks. */
  ink: number;
  /** Search that matches its frames; null when there is none (what is left over). */
  search: string | null;
  /** Samples that ended in its frames; of the notes, where none ends, what stands below them. */
  self: number;
}

export interface Coloring {
  /** By frame. */
  inks: Uint8Array;
  legend: LegendEntry[];
}

/** What the server counted over all samples: a tree that was cut has the small frames' kinds no more. */
export interface Counted {
  /** Samples by the kind of the frame they ended in. */
  kinds: readonly number[];
  /** Samples with a stack cut short. */
  incomplete: number;
}

export function colorFrames(tree: CallTree, mode: ColorMode, counted: Counted | null = null): Coloring {
  const { strings, name, kind, binary } = tree.frames;
  const self = new Float64Array(name.length);
  const used = new Uint8Array(name.length);
  const { size, frame, total, self: ended } = tree;
  for (let i = 0; i < size; i++) {
    const f = frame[i];
    self[f] += kind[f] === FrameKind.Note ? total[i] : ended[i];
    used[f] = 1;
  }
  const shades = new Uint8Array(name.length);
  for (let f = 0; f < shades.length; f++) shades[f] = shadeOf(strings[name[f]]);
  const inks = new Uint8Array(name.length);
  if (mode === "kind") {
    for (let f = 0; f < inks.length; f++) inks[f] = kindInk(kind[f], shades[f]);
    return { inks, legend: kindLegend(kind, self, used, counted) };
  }
  const keyOf = (f: number): string => {
    const text = strings[name[f]];
    if (mode === "name") return text;
    const path = binary[f] < 0 ? null : strings[binary[f]];
    if (mode === "package") return packageOf({ name: text, kind: kind[f], binary: path });
    return path === null ? "no file" : baseName(path);
  };
  const weights = new Map<string, number>();
  const keys = Array.from(name, (_, f) => (isCode(kind[f]) && used[f] === 1 ? keyOf(f) : ""));
  keys.forEach((key, f) => {
    if (key !== "") weights.set(key, (weights.get(key) ?? 0) + self[f]);
  });
  const categories = mode === "name" ? null : assign(weights);
  for (let f = 0; f < inks.length; f++) {
    if (keys[f] === "") inks[f] = kindInk(kind[f], shades[f]);
    else if (categories === null)
      inks[f] = categoryInk(textHash(keys[f]) % CATEGORIES, (textHash(keys[f]) >>> 4) % SHADES);
    else inks[f] = categoryInk(categories.get(keys[f]) ?? CATEGORIES, shades[f]);
  }
  if (categories === null || mode === "name") return { inks, legend: [] };
  // What was too small to send belongs to some of these: without it the others would seem to be all.
  const small = kindLegend(kind, self, used, null).filter((entry) => entry.label === KIND_NAMES[FrameKind.Remainder]);
  return { inks, legend: [...categoryLegend(mode, categories, weights), ...small] };
}

/** The heaviest keys get a category each. */
function assign(weights: ReadonlyMap<string, number>): Map<string, number> {
  const heaviest = [...weights].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1)).slice(0, CATEGORIES);
  const assigned = new Map<string, number>();
  const taken = new Set<number>();
  for (const [key] of heaviest) {
    let category = textHash(key) % CATEGORIES;
    while (taken.has(category)) category = (category + 1) % CATEGORIES;
    taken.add(category);
    assigned.set(key, category);
  }
  return assigned;
}

function kindLegend(kind: Uint8Array, self: Float64Array, used: Uint8Array, counted: Counted | null): LegendEntry[] {
  const sums = new Float64Array(KIND_COUNT);
  const present = new Uint8Array(KIND_COUNT);
  for (let f = 0; f < kind.length; f++) {
    if (kind[f] >= KIND_COUNT || used[f] === 0) continue;
    sums[kind[f]] += self[f];
    present[kind[f]] = 1;
  }
  counted?.kinds.forEach((samples, k) => {
    // Only the page knows what was not sent.
    if (k === FrameKind.Remainder || k >= KIND_COUNT) return;
    sums[k] = k === FrameKind.Note ? counted.incomplete : samples;
    if (sums[k] > 0) present[k] = 1;
  });
  return LEGEND_ORDER.filter((k) => present[k] === 1).map((k) => ({
    label: KIND_NAMES[k],
    ink: kindInk(k),
    search: `kind:${KIND_NAMES[k]}`,
    self: sums[k],
  }));
}

/** Code first, what is not known of it last. */
const LEGEND_ORDER: readonly FrameKind[] = [
  FrameKind.User,
  FrameKind.Kernel,
  FrameKind.Inlined,
  FrameKind.Jit,
  FrameKind.Unknown,
  FrameKind.Note,
  FrameKind.Remainder,
];

function categoryLegend(
  mode: "package" | "binary",
  categories: ReadonlyMap<string, number>,
  weights: ReadonlyMap<string, number>,
): LegendEntry[] {
  const legend: LegendEntry[] = [];
  let others = 0;
  for (const [key, self] of weights) {
    const category = categories.get(key);
    if (category === undefined) others += self;
    else legend.push({ label: key, ink: categoryInk(category), search: `${mode}:${key}`, self });
  }
  legend.sort((a, b) => b.self - a.self);
  if (weights.size > categories.size) {
    legend.push({ label: "others", ink: categoryInk(CATEGORIES), search: null, self: others });
  }
  return legend;
}

/** By its length and its end, which is where names of one place differ: this is done for every name before the first drawing. */
function shadeOf(name: string): number {
  return textHash(name.slice(-8), name.length) % SHADES;
}

function textHash(text: string, seed = 0): number {
  let hash = 2166136261 ^ seed;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 16777619);
  return (hash ^ (hash >>> 15)) >>> 0;
}

/**
 * What the page shows, as one immutable value, and its saved form: the query string. Pure.
 *
 * Round trip: `readView(writeView(v))` is `v`. Defaults are left out of the address; unknown or malformed parts fall back
 * to them, because addresses are typed and truncated by people.
 */

import { COLOR_MODES, type ColorMode } from "../model/coloring";
import { parseFunction } from "../model/function";
import { formatBox, type HeatBox, parseBox } from "../model/heat-cells";
import { type Tidy, USUAL_TIDY } from "../model/tidy";
import { followsNow, type Instant, parseInstant } from "../model/time-range";

export const TABS = ["flame", "tree", "table", "sandwich", "diff", "heatmap", "source", "quality"] as const;
export type Tab = (typeof TABS)[number];
export const CODE_PARTS = ["both", "lines", "assembly"] as const;
export type CodePart = (typeof CODE_PARTS)[number];
/** What is shown of names: all, without parameters and type arguments, or as the linker has them. */
export const NAMINGS = ["full", "simple", "none"] as const;
export type Naming = (typeof NAMINGS)[number];
export const SORT_COLUMNS = ["self", "total", "name", "binary"] as const;
export type SortColumn = (typeof SORT_COLUMNS)[number];

/** What a diff compares the shown range and filter with. */
export interface Baseline {
  /** Null: the span just before the shown one, of the same length. */
  range: { from: number; to: number } | null;
  /** Null: the shown filter. */
  filter: string | null;
  /** Sample counts as they are, instead of as if both sides had equally many. */
  absolute: boolean;
}

export interface ViewState {
  from: Instant;
  to: Instant;
  /** Refetch as time goes on; means nothing unless `to` is `now`. */
  live: boolean;
  /** Label selector, as typed. */
  filter: string;
  /** Part of the range that was brushed on the timeline, in ms. */
  brush: { from: number; to: number } | null;
  /** Box of the heat map of the range; only where that does not move. */
  box: HeatBox | null;
  tab: Tab;
  /** Search text. */
  search: string;
  /** Path hash of the zoomed frame (`model/focus-path.ts`); null: the root. */
  zoom: string | null;
  /** Root at the bottom instead of the top. */
  rootBelow: boolean;
  sort: { by: SortColumn; ascending: boolean };
  color: ColorMode;
  tidy: Tidy;
  names: Naming;
  /** The chosen function (`model/function.ts`); what the sandwich is about. */
  fn: string | null;
  /** Of the chosen function's code. */
  code: CodePart;
  /** Line of it that is looked at. */
  line: number | null;
  /** Label whose values stand between the root and the processes. */
  group: string | null;
  /** Label whose values stack up in the timeline. */
  by: string | null;
  /** Labels whose values are listed. */
  facets: readonly string[];
  baseline: Baseline;
}

/** On a phone the graph comes first (`styles/narrow.css`). */
const LABELS_OPEN: readonly string[] = globalThis.innerWidth <= 720 ? [] : ["comm"];

export const DEFAULT_VIEW: ViewState = {
  from: "now-1h",
  to: "now",
  live: true,
  filter: "",
  brush: null,
  box: null,
  tab: "flame",
  search: "",
  zoom: null,
  rootBelow: false,
  sort: { by: "self", ascending: false },
  color: "kind",
  tidy: USUAL_TIDY,
  names: "full",
  fn: null,
  code: "both",
  line: null,
  group: null,
  by: null,
  facets: LABELS_OPEN,
  baseline: { range: null, filter: null, absolute: false },
};

/** More rules than a person makes; an address may hold any number. */
const MOST_RULES = 50;
const LABEL = /^[A-Za-z_][A-Za-z0-9_.]{0,63}$/;

export function readView(query: string): ViewState {
  const p = new URLSearchParams(query);
  const sort = /^(-?)(\w+)$/.exec(p.get("sort") ?? "");
  const by = SORT_COLUMNS.find((column) => column === sort?.[2]);
  const zoom = p.get("zoom") ?? "";
  const fn = p.get("fn") ?? "";
  const stacked = p.get("by") ?? "";
  const facets = p.get("facets");
  return {
    from: parseInstant(p.get("from") ?? "") ?? DEFAULT_VIEW.from,
    to: parseInstant(p.get("to") ?? "") ?? DEFAULT_VIEW.to,
    live: p.get("live") !== "0",
    filter: p.get("filter") ?? "",
    brush: readSpan(p.get("brush")),
    box: parseBox(p.get("box") ?? ""),
    tab: TABS.find((tab) => tab === p.get("tab")) ?? DEFAULT_VIEW.tab,
    search: p.get("search") ?? "",
    zoom: /^\d{1,5}-[0-9a-f]{14}$/.test(zoom) ? zoom : null,
    rootBelow: p.get("root") === "below",
    sort: by === undefined ? DEFAULT_VIEW.sort : { by, ascending: sort?.[1] !== "-" },
    color: COLOR_MODES.find((mode) => mode === p.get("color")) ?? DEFAULT_VIEW.color,
    tidy: readTidy(p),
    names: NAMINGS.find((naming) => naming === p.get("names")) ?? DEFAULT_VIEW.names,
    fn: parseFunction(fn) === null ? null : fn,
    code: CODE_PARTS.find((part) => part === p.get("code")) ?? DEFAULT_VIEW.code,
    line: /^[1-9]\d{0,8}$/.test(p.get("line") ?? "") ? Number(p.get("line")) : null,
    group: LABEL.test(p.get("group") ?? "") ? p.get("group") : null,
    by: LABEL.test(stacked) ? stacked : null,
    facets: facets === null ? DEFAULT_VIEW.facets : facets.split(",").filter((label) => LABEL.test(label)),
    baseline: {
      range: readSpan(p.get("base")),
      filter: p.get("basefilter"),
      absolute: p.get("diff") === "absolute",
    },
  };
}

/** Texts that mean a default, which `writeView` leaves out. */
const SAID_DEFAULTS: Readonly<Record<string, string>> = {
  from: "now-1h",
  to: "now",
  live: "1",
  tab: "flame",
  sort: "-self",
  color: "kind",
  names: "full",
  code: "both",
  diff: "share",
  tidy: "plumbing,own",
};
const PARTS: readonly string[] = [
  ...Object.keys(SAID_DEFAULTS),
  ...["filter", "brush", "box", "search", "zoom", "root", "hide", "fold", "fn", "line", "group", "by"],
  ...["facets", "base", "basefilter"],
];

/** Parts of an address that name something of this page and say nothing that it can read, such as `from=banana`. */
export function unreadParts(query: string): string[] {
  const { from, to } = readView(query);
  const backwards = typeof from === "number" && typeof to === "number" && from >= to;
  return [...new URLSearchParams(query)].flatMap(([name, value]) => {
    const known = PARTS.includes(name) && value !== "" && SAID_DEFAULTS[name] !== value;
    const read = writeView(readView(`?${new URLSearchParams({ [name]: value })}`)) !== "" || isSaidInFull(name, value);
    return known && (!read || (backwards && name === "to")) ? [`${name}=${value}`] : [];
  });
}

/** Whether it says the default in the form that an address of everything has. */
function isSaidInFull(name: string, value: string): boolean {
  return name === "facets" && value === DEFAULT_VIEW.facets.join();
}

function readSpan(text: string | null): { from: number; to: number } | null {
  const span = /^(\d{1,15})-(\d{1,15})$/.exec(text ?? "");
  if (span === null || Number(span[1]) >= Number(span[2])) return null;
  return { from: Number(span[1]), to: Number(span[2]) };
}

const TIDY_FLAGS = ["recursion", "plumbing", "own"] as const;
/** No flag at all, which the usual ones are not. */
const NO_FLAG = "none";

/** The flags that an address names; the usual ones where it names none that there is. */
function readFlags(text: string | null): readonly string[] {
  const flags = TIDY_FLAGS.filter((flag) => (text ?? "").split(",").includes(flag));
  return flags.length > 0 || text === NO_FLAG ? flags : TIDY_FLAGS.filter((flag) => USUAL_TIDY[flag]);
}

function readTidy(p: URLSearchParams): Tidy {
  const flags = readFlags(p.get("tidy"));
  const rules = (name: string): string[] =>
    p
      .getAll(name)
      .filter((text) => text.trim() !== "")
      .slice(0, MOST_RULES);
  return {
    hide: rules("hide"),
    fold: rules("fold"),
    recursion: flags.includes("recursion"),
    plumbing: flags.includes("plumbing"),
    own: flags.includes("own"),
  };
}

/** The query string, with its `?`; empty for the default view. */
export function writeView(view: ViewState): string {
  const p = new URLSearchParams();
  if (view.from !== DEFAULT_VIEW.from) p.set("from", String(view.from));
  if (view.to !== DEFAULT_VIEW.to) p.set("to", String(view.to));
  if (!view.live) p.set("live", "0");
  if (view.filter !== "") p.set("filter", view.filter);
  if (view.brush !== null) p.set("brush", `${view.brush.from}-${view.brush.to}`);
  if (view.box !== null) p.set("box", formatBox(view.box));
  if (view.tab !== DEFAULT_VIEW.tab) p.set("tab", view.tab);
  if (view.search !== "") p.set("search", view.search);
  if (view.zoom !== null) p.set("zoom", view.zoom);
  if (view.rootBelow) p.set("root", "below");
  const { by, ascending } = view.sort;
  if (by !== DEFAULT_VIEW.sort.by || ascending) p.set("sort", `${ascending ? "" : "-"}${by}`);
  if (view.color !== DEFAULT_VIEW.color) p.set("color", view.color);
  const { tidy, baseline } = view;
  for (const rule of tidy.hide) p.append("hide", rule);
  for (const rule of tidy.fold) p.append("fold", rule);
  const flags = TIDY_FLAGS.filter((flag) => tidy[flag]);
  if (TIDY_FLAGS.some((flag) => tidy[flag] !== USUAL_TIDY[flag])) p.set("tidy", flags.join() || NO_FLAG);
  if (view.names !== DEFAULT_VIEW.names) p.set("names", view.names);
  if (view.fn !== null) p.set("fn", view.fn);
  if (view.code !== DEFAULT_VIEW.code) p.set("code", view.code);
  if (view.line !== null) p.set("line", String(view.line));
  if (view.group !== null) p.set("group", view.group);
  if (view.by !== null) p.set("by", view.by);
  if (view.facets.join() !== DEFAULT_VIEW.facets.join()) p.set("facets", view.facets.join());
  if (baseline.range !== null) p.set("base", `${baseline.range.from}-${baseline.range.to}`);
  if (baseline.filter !== null) p.set("basefilter", baseline.filter);
  if (baseline.absolute) p.set("diff", "absolute");
  const text = p.toString();
  return text === "" ? "" : `?${text}`;
}

/** Whether the view moves with the clock. */
export function isLive(view: Pick<ViewState, "live" | "from" | "to">): boolean {
  return view.live && followsNow(view);
}

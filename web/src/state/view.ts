/**
 * What the page shows, as one immutable value, and its saved form: the query string. Pure.
 *
 * Round trip: `readView(writeView(v))` is `v`. Defaults are left out of the address; unknown or malformed parts fall back
 * to them, because addresses are typed and truncated by people.
 */

import { followsNow, type Instant, parseInstant } from "../model/time-range";

export type Tab = "flame" | "table";
export type SortColumn = "self" | "total" | "name" | "binary";

export interface ViewState {
  from: Instant;
  to: Instant;
  /** Refetch as time goes on; means nothing unless `to` is `now`. */
  live: boolean;
  /** Label selector, as typed. */
  filter: string;
  /** Part of the range that was brushed on the timeline, in ms. */
  brush: { from: number; to: number } | null;
  tab: Tab;
  /** Search text. */
  search: string;
  /** Path hash of the zoomed frame (`model/focus-path.ts`); null: the root. */
  zoom: string | null;
  /** Root at the bottom instead of the top. */
  rootBelow: boolean;
  sort: { by: SortColumn; ascending: boolean };
}

export const DEFAULT_VIEW: ViewState = {
  from: "now-15m",
  to: "now",
  live: true,
  filter: "",
  brush: null,
  tab: "flame",
  search: "",
  zoom: null,
  rootBelow: false,
  sort: { by: "self", ascending: false },
};

const SORT_COLUMNS: readonly SortColumn[] = ["self", "total", "name", "binary"];

export function readView(query: string): ViewState {
  const p = new URLSearchParams(query);
  const brush = /^(\d{1,15})-(\d{1,15})$/.exec(p.get("brush") ?? "");
  const sort = /^(-?)(\w+)$/.exec(p.get("sort") ?? "");
  const by = SORT_COLUMNS.find((column) => column === sort?.[2]);
  const zoom = p.get("zoom") ?? "";
  return {
    from: parseInstant(p.get("from") ?? "") ?? DEFAULT_VIEW.from,
    to: parseInstant(p.get("to") ?? "") ?? DEFAULT_VIEW.to,
    live: p.get("live") !== "0",
    filter: p.get("filter") ?? "",
    brush:
      brush === null || Number(brush[1]) >= Number(brush[2]) ? null : { from: Number(brush[1]), to: Number(brush[2]) },
    tab: p.get("tab") === "table" ? "table" : "flame",
    search: p.get("search") ?? "",
    zoom: /^\d{1,5}-[0-9a-f]{14}$/.test(zoom) ? zoom : null,
    rootBelow: p.get("root") === "below",
    sort: by === undefined ? DEFAULT_VIEW.sort : { by, ascending: sort?.[1] !== "-" },
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
  if (view.tab !== DEFAULT_VIEW.tab) p.set("tab", view.tab);
  if (view.search !== "") p.set("search", view.search);
  if (view.zoom !== null) p.set("zoom", view.zoom);
  if (view.rootBelow) p.set("root", "below");
  const { by, ascending } = view.sort;
  if (by !== DEFAULT_VIEW.sort.by || ascending) p.set("sort", `${ascending ? "" : "-"}${by}`);
  const text = p.toString();
  return text === "" ? "" : `?${text}`;
}

/** Whether the view moves with the clock. */
export function isLive(view: ViewState): boolean {
  return view.live && followsNow(view);
}

/** The rows of the top table: filtered by the search, in the order asked for. Pure. */

import { type SearchQuery, searchTest } from "./search";

export interface TopEntry {
  name: string;
  kind: number;
  binary: string | null;
  file: string | null;
  self: number;
  total: number;
}

export type TopColumn = "self" | "total" | "name" | "binary";

/** Equal rows keep the server's order. A search that is empty or not valid filters nothing. */
export function topRows<T extends TopEntry>(
  rows: readonly T[],
  query: SearchQuery,
  sort: { by: TopColumn; ascending: boolean },
): T[] {
  const test = query.kind === "none" || query.kind === "bad" ? () => true : searchTest(query);
  const sign = sort.ascending ? 1 : -1;
  const by = sort.by;
  const compare =
    by === "self" || by === "total"
      ? (a: T, b: T) => a[by] - b[by]
      : (a: T, b: T) => compareText(a[by] ?? "", b[by] ?? "");
  return rows.filter((row) => test(row)).sort((a, b) => sign * compare(a, b));
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

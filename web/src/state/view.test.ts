import { describe, expect, test } from "vitest";
import { COLOR_MODES } from "../model/coloring";
import { formatFunction } from "../model/function";
import { randomNumbers } from "../testing/synthetic";
import {
  CODE_PARTS,
  DEFAULT_VIEW,
  isLive,
  NAMINGS,
  readView,
  SORT_COLUMNS,
  TABS,
  unreadParts,
  type ViewState,
  writeView,
} from "./view";

describe("the view in the address", () => {
  /** A clean page has a clean address. */
  test("is empty for the default view", () => {
    expect(writeView(DEFAULT_VIEW)).toBe("");
    expect(readView("")).toEqual(DEFAULT_VIEW);
  });

  /** Everything at once, with characters that addresses escape. */
  test("holds everything that is shown", () => {
    const view: ViewState = {
      from: 1_763_800_000_000,
      to: 1_763_803_600_000,
      live: false,
      filter: '{comm="a&b=c", unit=~"x+ .*"}',
      brush: { from: 1_763_800_100_000, to: 1_763_800_200_000 },
      box: { columns: 60, rows: 50, columnFrom: 3, columnTo: 7, rowFrom: 0, rowTo: 49 },
      tab: "table",
      search: "/a|b/i",
      zoom: "12-0123456789abcd",
      rootBelow: true,
      sort: { by: "name", ascending: true },
      color: "package",
      tidy: { hide: ["/a&b/", "kind:kernel"], fold: ['"x"'], recursion: true, plumbing: true, own: false },
      fn: "2|/usr/bin/a|src/a.rs|operator|<int>",
      names: "simple",
      code: "assembly",
      line: 120,
      group: "unit",
      by: "container",
      facets: ["comm", "unit"],
      baseline: { range: { from: 1, to: 5 }, filter: "", absolute: true },
    };
    expect(readView(writeView(view))).toEqual(view);
  });

  /** Any combination of parts comes back as it went. */
  test("comes back as it went, for 500 random views", () => {
    const random = randomNumbers(11);
    const pick = <T>(...values: T[]): T => values[Math.floor(random() * values.length)];
    for (let n = 0; n < 500; n++) {
      const view: ViewState = {
        from: pick<string | number>("now-5m", "now-7d", "now-1h", 1_000),
        to: pick<string | number>("now", 2_000),
        live: pick(true, false),
        filter: pick("", '{comm="é 日本"}', "%zz"),
        brush: pick(null, { from: 5, to: 9 }),
        box: pick(null, { columns: 2, rows: 3, columnFrom: 1, columnTo: 1, rowFrom: 0, rowTo: 2 }),
        tab: pick(...TABS),
        search: pick("", "&", "+ #?", '"x"'),
        zoom: pick(null, "0-00000000000000"),
        rootBelow: pick(true, false),
        sort: { by: pick(...SORT_COLUMNS), ascending: pick(true, false) },
        color: pick(...COLOR_MODES),
        tidy: {
          hide: pick([], ["a"], ["a", "é&"]),
          fold: pick([], ["/(/"]),
          recursion: pick(true, false),
          plumbing: pick(true, false),
          own: pick(true, false),
        },
        fn: pick(null, formatFunction({ name: "a|b", kind: 3, binary: null, file: null })),
        names: pick(...NAMINGS),
        code: pick(...CODE_PARTS),
        line: pick(null, 1, 99_999),
        group: pick(null, "thread"),
        by: pick(null, "comm"),
        facets: pick(["comm"], [], ["pid", "unit"]),
        baseline: {
          range: pick(null, { from: 5, to: 9 }),
          filter: pick(null, "", '{comm="x"}'),
          absolute: pick(true, false),
        },
      };
      expect(readView(writeView(view))).toEqual(view);
    }
  });

  /** Addresses are cut, mistyped and old; the page opens all the same. */
  test.each([
    "?from=yesterday&to=",
    "?brush=9-5",
    "?brush=x",
    "?zoom=1-xyz",
    "?tab=graph",
    "?sort=colour",
    "?color=rainbow&fn=x&by=1&base=9-2",
    "?hide=&tidy=everything",
    "?%E0%A4%A",
  ])("falls back to the default for %s", (query) => {
    expect(readView(query)).toEqual(DEFAULT_VIEW);
  });

  /** A range with a fixed end has nothing to follow. */
  test("is live only when its end is now", () => {
    expect(isLive(DEFAULT_VIEW)).toBe(true);
    expect(isLive({ ...DEFAULT_VIEW, to: 5 })).toBe(false);
    expect(isLive({ ...DEFAULT_VIEW, live: false })).toBe(false);
  });
});

describe("parts of an address that cannot be read", () => {
  /** Typed and cut addresses are told of; what the page itself writes, and what is not its own, is not. */
  test.each([
    ["?from=banana&to=-5", ["from=banana", "to=-5"]],
    ["?from=1763800000000&to=1763700000000", ["to=1763700000000"]],
    ["?tab=flames&box=1x1&utm_source=mail", ["tab=flames", "box=1x1"]],
    ["?from=now-1h&to=now&tab=flame&sort=-self&facets=comm", []],
    ["?from=now-5m&filter=x&search=%2F&facets=&live=0", []],
    ["?tidy=plumbing,own", []],
    ["?tidy=none&hide=x", []],
  ])("%s", (query, parts) => {
    expect(unreadParts(query)).toEqual(parts);
  });
});

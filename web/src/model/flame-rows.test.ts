import { describe, expect, test } from "vitest";
import { decodeFlameGraph } from "../api/decode";
import { nodeByNames, profileFromText } from "../testing/profile-from-text";
import { randomNumbers, syntheticFlameGraph } from "../testing/synthetic";
import { type CallTree, nodeName } from "./call-tree";
import { emptyRows, type FlameViewport, focusThatShows, layoutRows, nodeAt } from "./flame-rows";

const { tree } = profileFromText(`
  main  main  main  main  main  main  main  init
  a     a     a     a     b     b     c
  d     d     e           d
`);

/** Rows of `name x+width`, as they would be read off the screen. */
function rowsOf(at: CallTree, view: Partial<FlameViewport>): string[][] {
  const rows = layoutRows(
    at,
    { focus: 0, width: 80, minWidth: 0.5, firstRow: 0, lastRow: at.maxDepth, ...view },
    emptyRows(),
  );
  const lines: string[][] = [];
  for (let b = 0; b < rows.boxes; b++) {
    const row = at.depth[rows.node[b]];
    lines[row] ??= [];
    lines[row].push(`${nodeName(at, rows.node[b])} ${rows.x[b]}+${rows.width[b]}`);
  }
  return lines;
}

/** Strips of `row+rows x+width`. */
function stripsOf(at: CallTree, view: Partial<FlameViewport>): string[] {
  const rows = layoutRows(
    at,
    { focus: 0, width: 80, minWidth: 0.5, firstRow: 0, lastRow: at.maxDepth, ...view },
    emptyRows(),
  );
  return Array.from(
    { length: rows.strips },
    (_, s) => `${rows.stripRow[s]}+${rows.stripRows[s]} ${rows.stripX[s]}+${rows.stripWidth[s]}`,
  );
}

describe("layout", () => {
  /** 8 samples over 80 px: a sample is 10 px wide. */
  test("puts callees below their caller, widest first", () => {
    expect(rowsOf(tree, {})).toEqual([
      ["all 0+80"],
      ["main 0+70", "init 70+10"],
      ["a 0+40", "b 40+20", "c 60+10"],
      ["d 0+20", "e 20+10", "d 40+10"],
    ]);
  });

  /** Zoomed to `b`: it and its callers fill the width, its neighbours are gone. */
  test("stretches the zoomed frame and its callers over the width", () => {
    const focus = nodeByNames(tree, "main", "b");
    expect(rowsOf(tree, { focus })).toEqual([["all 0+80"], ["main 0+80"], ["b 0+80"], ["d 0+40"]]);
  });

  /** Rows outside the window are not laid out at all. */
  test("leaves out rows above and below the window", () => {
    expect(rowsOf(tree, { firstRow: 1, lastRow: 2 })).toEqual([
      undefined,
      ["main 0+70", "init 70+10"],
      ["a 0+40", "b 40+20", "c 60+10"],
    ]);
  });

  /** At 4 px the callees of `a` are 1 px and 0.5 px wide: too narrow at a limit of 1.2, so grey stands for them. */
  test("draws what is too narrow as a skyline as tall as the tallest subtree in it", () => {
    const view = { width: 4, minWidth: 1.2 };
    expect(rowsOf(tree, view)).toEqual([["all 0+4"], ["main 0+3.5"], ["a 0+2"]]);
    expect(stripsOf(tree, view)).toEqual(["3+1 0+1", "3+1 1+0.5", "2+2 2+1", "2+1 3+0.5", "1+1 3.5+0.5"]);
  });

  /** The skyline is cut at the window like everything else. */
  test("cuts the skyline at the window", () => {
    expect(stripsOf(tree, { width: 4, minWidth: 10 })).toEqual(["0+4 0+4"]);
    expect(stripsOf(tree, { width: 4, minWidth: 10, firstRow: 2, lastRow: 2 })).toEqual(["2+1 0+4"]);
  });

  /** No white holes: in each row, boxes and strips together cover exactly the samples that reach the row. */
  test("covers every sample of every row of a large profile, drawn or grey", () => {
    const large = decodeFlameGraph(syntheticFlameGraph({ nodes: 5_000, samples: 200_000, names: 300, seed: 3 })).tree;
    const width = 700;
    const rows = layoutRows(
      large,
      { focus: 0, width, minWidth: 0.5, firstRow: 0, lastRow: large.maxDepth },
      emptyRows(),
    );
    const covered = (row: number, x: number): boolean => {
      for (let b = 0; b < rows.boxes; b++) {
        if (large.depth[rows.node[b]] === row && x >= rows.x[b] && x < rows.x[b] + rows.width[b]) return true;
      }
      for (let s = 0; s < rows.strips; s++) {
        const inRow = row >= rows.stripRow[s] && row < rows.stripRow[s] + rows.stripRows[s];
        if (inRow && x >= rows.stripX[s] && x < rows.stripX[s] + rows.stripWidth[s]) return true;
      }
      return false;
    };
    let checked = 0;
    for (let node = 0; node < large.size; node += 7) {
      const middle = ((large.start[node] + large.total[node] / 2) / large.total[0]) * width;
      expect(covered(large.depth[node], middle), `row ${large.depth[node]} at ${middle}`).toBe(true);
      checked++;
    }
    expect(checked).toBeGreaterThan(500);
  });

  /** The number of boxes follows from the size of the screen, not from the size of the profile. */
  test("lays out a bounded number of boxes", () => {
    const large = decodeFlameGraph(
      syntheticFlameGraph({ nodes: 50_000, samples: 5_000_000, names: 300, seed: 4 }),
    ).tree;
    const rows = layoutRows(large, { focus: 0, width: 1000, minWidth: 0.5, firstRow: 0, lastRow: 40 }, emptyRows());
    expect(rows.boxes).toBeLessThan(2 * 1000 * 41);
    expect(rows.boxes).toBeLessThan(large.size / 2);
  });

  /** A profile without samples has nothing to lay out, and nothing divides by zero. */
  test("lays out nothing when there are no samples", () => {
    expect(rowsOf(profileFromText("").tree, {})).toEqual([]);
  });
});

describe("the hit test", () => {
  /** The same picture as the layout above. */
  test("finds the frame under a point, and nothing where there is none", () => {
    const at = (row: number, x: number) => {
      const node = nodeAt(tree, 0, 80, row, x);
      return node < 0 ? null : nodeName(tree, node);
    };
    expect([at(0, 0), at(1, 69.9), at(1, 70), at(2, 45), at(3, 25)]).toEqual(["all", "main", "init", "b", "e"]);
    expect([at(3, 35), at(4, 5), at(2, 75), at(1, 80), at(-1, 5), at(1, -1)]).toEqual([
      null,
      null,
      null,
      null,
      null,
      null,
    ]);
  });

  /** Zoomed, the rows above the zoomed frame belong to its callers, whatever the x. */
  test("knows the callers of the zoomed frame", () => {
    const focus = nodeByNames(tree, "main", "b");
    expect(nodeName(tree, nodeAt(tree, focus, 80, 1, 79))).toBe("main");
    expect(nodeName(tree, nodeAt(tree, focus, 80, 3, 10))).toBe("d");
    expect(nodeAt(tree, focus, 80, 3, 50)).toBe(-1);
  });

  /** Against the obvious linear search, at random points and zooms of a large profile. */
  test("agrees with a linear search", () => {
    const large = decodeFlameGraph(syntheticFlameGraph({ nodes: 3_000, samples: 90_000, names: 200, seed: 5 })).tree;
    const random = randomNumbers(9);
    let hits = 0;
    for (let n = 0; n < 2_000; n++) {
      const focus = n % 3 === 0 ? 0 : Math.floor(random() * large.size);
      const row = large.depth[focus] + Math.floor(random() * 10);
      const x = random() * 500;
      const sample = large.start[focus] + (x / 500) * large.total[focus];
      let expected = -1;
      for (let i = focus; i < large.end[focus]; i++) {
        if (large.depth[i] === row && sample >= large.start[i] && sample < large.start[i] + large.total[i])
          expected = i;
      }
      if (expected >= 0) hits++;
      expect(nodeAt(large, focus, 500, row, x)).toBe(expected);
    }
    expect(hits).toBeGreaterThan(500);
  });
});

/** `d` below `b` is one sample of eight: 10 of 80 px; below `b` 40, on its own 80. */
test("zooming to show a frame keeps as much around it as possible", () => {
  const d = nodeByNames(tree, "main", "b", "d");
  expect(nodeName(tree, focusThatShows(tree, d, 80, 10))).toBe("all");
  expect(nodeName(tree, focusThatShows(tree, d, 80, 11))).toBe("main");
  expect(nodeName(tree, focusThatShows(tree, d, 80, 30))).toBe("b");
  expect(nodeName(tree, focusThatShows(tree, d, 80, 500))).toBe("d");
});

import { describe, expect, test } from "vitest";
import { nodeByNames, profileFromText } from "../testing/profile-from-text";
import { callTree, children, type FrameTable, nodeName, pathTo } from "./call-tree";

const NAMES: FrameTable = {
  strings: ["all"],
  name: Uint32Array.of(0),
  kind: Uint8Array.of(0),
  binary: Int32Array.of(-1),
  file: Int32Array.of(-1),
  line: Uint32Array.of(0),
  reason: Int32Array.of(-1),
};
const columns = (depth: number[], frame = depth.map(() => 0)) => ({
  depth,
  frame,
  total: depth.map(() => 1),
  self: depth.map(() => 0),
});

describe("the call tree", () => {
  const { tree } = profileFromText(`
    main  main  main  main  init
    a     a     b     b
    c     c           c
          d
  `);

  /** The drawing above, depth first, siblings by falling total then name. */
  test("knows parents, subtree ends, heights and left edges", () => {
    const names = Array.from({ length: tree.size }, (_, i) => nodeName(tree, i));
    expect(names).toEqual(["all", "main", "a", "c", "d", "b", "c", "init"]);
    expect([...tree.depth]).toEqual([0, 1, 2, 3, 4, 2, 3, 1]);
    expect([...tree.total]).toEqual([5, 4, 2, 2, 1, 2, 1, 1]);
    expect([...tree.self]).toEqual([0, 0, 0, 1, 1, 1, 1, 1]);
    expect([...tree.parent]).toEqual([-1, 0, 1, 2, 3, 1, 5, 0]);
    expect([...tree.end]).toEqual([8, 7, 5, 5, 5, 7, 7, 8]);
    expect([...tree.height]).toEqual([4, 3, 2, 1, 0, 1, 0, 0]);
    expect([...tree.start]).toEqual([0, 0, 0, 0, 0, 2, 2, 4]);
  });

  /** Paths and children walk the same tree both ways. */
  test("walks up and down", () => {
    const d = nodeByNames(tree, "main", "a", "c", "d");
    expect(pathTo(tree, d).map((i) => nodeName(tree, i))).toEqual(["all", "main", "a", "c", "d"]);
    expect(children(tree, 1).map((i) => nodeName(tree, i))).toEqual(["a", "b"]);
  });

  /** Every way in which columns can fail to be a tree is refused, so nobody after this checks. */
  test.each([
    ["no node at all", columns([])],
    ["a root that is not at depth 0", columns([1])],
    ["two roots", columns([0, 0])],
    ["a level left out", columns([0, 2])],
    ["a depth that is no number", columns([0, Number.NaN])],
    ["a frame that does not exist", columns([0, 1], [0, 7])],
  ])("refuses %s", (_, bad) => {
    expect(() => callTree(NAMES, bad)).toThrow(/node|root/);
  });
});

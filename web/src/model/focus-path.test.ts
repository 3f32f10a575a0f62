import { describe, expect, test } from "vitest";
import { decodeFlameGraph } from "../api/decode";
import { nodeByNames, profileFromText } from "../testing/profile-from-text";
import { syntheticFlameGraph } from "../testing/synthetic";
import { callTree } from "./call-tree";
import { choose, chosenIn, findPath, pathHash } from "./focus-path";

const before = profileFromText(`
  main  main  main  init
  a     a     b
  c     d     c
`).tree;
// The same program a little later: other widths, other order, other indexes.
const after = profileFromText(`
  warm  main  main  main  main
        b     b     b     a
        c     c     e     c
`).tree;

describe("the hash of a path", () => {
  /** The reason for it: a zoom outlives a refresh. */
  test("finds the same path in another tree", () => {
    const hash = pathHash(before, nodeByNames(before, "main", "b", "c"));
    expect(findPath(after, hash)).toBe(nodeByNames(after, "main", "b", "c"));
  });

  /** A live page has a new tree every few seconds: what was chosen by key or search stays. */
  test("finds what was chosen in the next tree", () => {
    const chosen = choose(before, nodeByNames(before, "main", "b", "c"));
    expect(chosenIn(before, chosen)).toBe(nodeByNames(before, "main", "b", "c"));
    expect(chosenIn(after, chosen)).toBe(nodeByNames(after, "main", "b", "c"));
    expect(chosenIn(after, choose(before, nodeByNames(before, "main", "a", "d")))).toBe(-1);
    expect([chosenIn(after, choose(before, -1)), chosenIn(null, chosen), choose(null, 0)]).toEqual([-1, -1, null]);
  });

  /** The server finds nodes by it: `profiler/src/query/path_hash.rs` has the same. */
  test("is the same on both sides of the wire", () => {
    const strings = ["all", "web", "größe<日本, 🔥>", "/usr/bin/app"];
    const none = new Int32Array([-1, -1, -1]);
    const frames = {
      strings,
      name: new Uint32Array([0, 1, 2]),
      kind: new Uint8Array([0, 1, 2]),
      binary: new Int32Array([-1, -1, 3]),
      file: none,
      line: new Uint32Array(3),
      reason: none,
    };
    const tree = callTree(frames, { depth: [0, 1, 2], frame: [0, 1, 2], total: [1, 1, 1], self: [0, 0, 1] });
    expect([0, 1, 2].map((node) => pathHash(tree, node))).toEqual([
      "0-17532870b0df6c",
      "1-0b1b3257f752b1",
      "2-04fe4f7ae6bd3e",
    ]);
  });

  /** `main a c` and `main b c` end in the same function and are different places. */
  test("tells apart places where the same function is called", () => {
    const under = (caller: string) => pathHash(before, nodeByNames(before, "main", caller, "c"));
    expect(under("a")).not.toBe(under("b"));
  });

  /** A kernel function and a user function may share a name. */
  test("tells apart kinds", () => {
    const user = profileFromText("read").tree;
    const kernel = profileFromText("read[k]").tree;
    expect(pathHash(user, 1)).not.toBe(pathHash(kernel, 1));
  });

  /** Gone from the profile, or nonsense from the address bar. */
  test("says so when there is no such path", () => {
    expect(findPath(after, pathHash(before, nodeByNames(before, "main", "a", "d")))).toBe(-1);
    expect(findPath(after, pathHash(before, nodeByNames(before, "init")))).toBe(-1);
    expect(["", "0", "1-zz", "99999-00000000000000"].map((text) => findPath(after, text))).toEqual([-1, -1, -1, -1]);
  });

  /** Every node of a large profile is found again, so no two of its paths collide. */
  test("leads back to each node of a large profile", () => {
    const { tree } = decodeFlameGraph(syntheticFlameGraph({ nodes: 3_000, samples: 90_000, names: 500, seed: 6 }));
    for (let node = 0; node < tree.size; node += 5) expect(findPath(tree, pathHash(tree, node))).toBe(node);
  });

  /** Addresses are sent to colleagues: the hash must never change. */
  test("is the same for ever", () => {
    expect(pathHash(before, nodeByNames(before, "main", "a"))).toBe("2-06dc34d2e67e56");
  });
});

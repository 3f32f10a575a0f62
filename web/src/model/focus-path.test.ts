import { describe, expect, test } from "vitest";
import { decodeFlameGraph } from "../api/decode";
import { nodeByNames, profileFromText } from "../testing/profile-from-text";
import { syntheticFlameGraph } from "../testing/synthetic";
import { findPath, pathHash } from "./focus-path";

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

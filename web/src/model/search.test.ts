import { describe, expect, test } from "vitest";
import { decodeFlameGraph } from "../api/decode";
import { nodeByNames, profileFromText } from "../testing/profile-from-text";
import { syntheticFlameGraph } from "../testing/synthetic";
import { type CallTree, nodeName, pathTo } from "./call-tree";
import { frameMask, matchedWithin, nextMatch, parseSearch, searchTest, searchTree } from "./search";

const { tree } = profileFromText(`
  main  main  main   main   main  idle
  hash  hash  hash   read   read
  hash  cmp   visit  hash   copy
`);

/** Sample by sample: walk each stack from its leaf and look for a match. */
function naiveTotal(at: CallTree, text: string): number {
  const test = searchTest(parseSearch(text));
  const matches = (name: string) => test({ name, kind: 2, binary: null, file: null });
  let total = 0;
  for (let i = 0; i < at.size; i++) {
    if (pathTo(at, i).some((node) => node !== 0 && matches(nodeName(at, node)))) total += at.self[i];
  }
  return total;
}

describe("search", () => {
  /** Four of six stacks hold `hash`; the first holds it twice and counts once. */
  test("counts a stack once however many of its frames match", () => {
    const found = searchTree(tree, parseSearch("HASH"));
    expect(found?.total).toBe(4);
    expect(found?.nodes.length).toBe(3);
  });

  /** What was too small to be sent may match: the share is a least one then, unless a match is above all of it. */
  test("says when there may be more than it finds", () => {
    const { tree } = profileFromText(`
      main  main       idle
      hash  copy
      cmp   smaller[r]
    `);
    const more = (text: string) => searchTree(tree, parseSearch(text))?.more;
    expect([more("hash"), more("nothing"), more("main"), more("copy")]).toEqual([true, true, false, false]);
  });

  /** The share in view looks at stacks through the zoomed frame only. */
  test("counts within the zoomed frame", () => {
    const found = searchTree(tree, parseSearch("hash"));
    if (found === null) throw new Error("no result");
    expect(matchedWithin(tree, found.frames, nodeByNames(tree, "main", "read"))).toBe(1);
    expect(matchedWithin(tree, found.frames, nodeByNames(tree, "idle"))).toBe(0);
    // A match above the zoomed frame is on every stack through it.
    expect(matchedWithin(tree, found.frames, nodeByNames(tree, "main", "hash", "cmp"))).toBe(1);
  });

  /** On a large profile, for texts that match little, much, and inside each other. */
  test.each(["hash", "/_1\\d*$/", "lock", "e", "no such name", '"postgres"', "/^(row|page)::/"])(
    "gives the same share as counting stack by stack: %s",
    (text) => {
      const large = decodeFlameGraph(syntheticFlameGraph({ nodes: 4_000, samples: 100_000, names: 300, seed: 2 })).tree;
      expect(searchTree(large, parseSearch(text))?.total).toBe(naiveTotal(large, text));
    },
  );

  /** Three forms, and what looks like one but is not. */
  test("reads text, whole names and regular expressions", () => {
    expect(parseSearch("  ")).toEqual({ kind: "none" });
    expect(parseSearch("a.b")).toEqual({ kind: "literal", text: "a.b" });
    expect(parseSearch('"read"')).toEqual({ kind: "exact", text: "read" });
    expect(parseSearch("/^re/i")).toEqual({ kind: "regex", regex: /^re/i });
    expect(parseSearch("/usr")).toEqual({ kind: "literal", text: "/usr" });
    expect(parseSearch("/(/").kind).toBe("bad");
    expect(searchTree(tree, parseSearch("/(/"))).toBeNull();
  });

  /** A whole name does not match the longer names that contain it. */
  test("matches whole names exactly", () => {
    const named = searchTest(parseSearch('"read"'));
    const exact = (name: string) => named({ name, kind: 2, binary: null, file: null });
    expect([exact("read"), exact("pread"), exact("Read")]).toEqual([true, false, false]);
  });

  /** The root is the sum of everything, not a function. */
  test("never matches the root", () => {
    expect(searchTree(tree, parseSearch("all"))?.nodes.length).toBe(0);
  });

  /** Around both ends, and from nodes that do not match themselves. */
  test("steps forwards and backwards through the matches", () => {
    const nodes = Uint32Array.of(3, 5, 9);
    expect([0, 3, 4, 9, 12].map((node) => nextMatch(nodes, node, 1))).toEqual([3, 5, 5, 3, 3]);
    expect([0, 3, 4, 9, 12].map((node) => nextMatch(nodes, node, -1))).toEqual([9, 9, 3, 5, 9]);
    expect(nextMatch(new Uint32Array(0), 3, 1)).toBe(-1);
  });

  /** A legend entry is such a search; a name with two colons is still a name. */
  test("finds frames by kind, package, binary and file", () => {
    const row = { name: "tokio::park", kind: 2, binary: "/usr/lib/libc.so.6", file: "src/park.rs" };
    const finds = (text: string) => searchTest(parseSearch(text))(row);
    expect(["kind:native", "package:tokio", "binary:libc", "file:park", "tokio::"].map(finds)).toEqual(
      Array(5).fill(true),
    );
    expect(["kind:kernel", "package:tok", "binary:libm", "file:lot", "kind::native"].map(finds)).toEqual(
      Array(5).fill(false),
    );
    const kinds = profileFromText("main\nread[k]").tree;
    expect([...frameMask(kinds.frames, parseSearch("kind:kernel"))]).toEqual([0, 0, 1]);
  });
});

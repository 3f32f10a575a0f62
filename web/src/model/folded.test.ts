import { describe, expect, test } from "vitest";
import { nodeByNames, profileFromText } from "../testing/profile-from-text";
import { diffTrees } from "./diff";
import { differenceLines, foldedLines } from "./folded";
import { tidyTree } from "./tidy";

const profile = (text: string) => profileFromText(text).tree;
const tree = profile(`
  web[p]  web[p]  web[p]  db[p]
  main    main    main    scan
  serve   serve   poll
  read[k]
`);

describe("the text of what is shown", () => {
  /** One line for each place where samples ended; they add up to the root. */
  test("has a line for each stack", () => {
    expect(foldedLines(tree, 0).trim().split("\n").sort()).toEqual([
      "db;scan 1",
      "web;main;poll 1",
      "web;main;serve 1",
      "web;main;serve;read 1",
    ]);
  });

  /** Zoomed, it is of that frame, below its callers; tidied, of what is drawn. */
  test("is of the zoomed frame and without hidden frames", () => {
    const node = nodeByNames(tree, "web", "main", "serve");
    expect(foldedLines(tree, node).trim().split("\n")).toEqual(["web;main;serve 1", "web;main;serve;read 1"]);
    const tidied = tidyTree(tree, { hide: ["serve"], fold: [], recursion: false, plumbing: false, own: false });
    expect(foldedLines(tidied, 0)).toContain("web;main;read 1\n");
    expect(foldedLines(tidied, 0)).not.toContain("serve");
  });

  /** Both counts, where either side has some. */
  test("has both sides of a difference", () => {
    const after = profile(`
      web[p]  web[p]
      main    main
      poll    new
    `);
    const side = (samples: number) => ({
      samples,
      measure: { scale: 1e7, counts_samples: true },
      heaviest: 1,
      recordedMs: 1_000,
    });
    const lines = differenceLines(diffTrees(tree, after, [side(4), side(2)], false))
      .trim()
      .split("\n");
    expect(lines.sort()).toEqual([
      "db;scan 1 0",
      "web;main;new 0 1",
      "web;main;poll 1 1",
      "web;main;serve 1 0",
      "web;main;serve;read 1 0",
    ]);
  });

  /** As the server's export writes them: the format has no escapes. */
  test.each([
    ["a;b", "a:b"],
    ["worker 5", "worker_5"],
    ["# hash", "#_hash"],
    ["new\u202eline", "new line"],
    [" ", "[no name]"],
  ])("writes %j as %j", (name, written) => {
    const one = profile("p[p]\nx");
    const renamed = {
      ...one,
      frames: { ...one.frames, strings: one.frames.strings.map((s) => (s === "x" ? name : s)) },
    };
    expect(foldedLines(renamed, 0)).toBe(`p;${written} 1\n`);
  });
});

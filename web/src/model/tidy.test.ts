/** What the page asks for below a zoomed frame while frames are hidden must be a node that the server has. */

import { expect, test } from "vitest";
import { nodeByNames, profileFromText } from "../testing/profile-from-text";
import { pathHash } from "./focus-path";
import { NOT_TIDIED, nodeBehind, type Tidy, tidyTree } from "./tidy";

const { tree } = profileFromText(`
  main  main  main  main  main
  wrap  wrap  wrap  a     a
  a     a     a     b
  b     b
`);
const behind = (change: Partial<Tidy>, ...names: string[]): number => {
  const tidy = { ...NOT_TIDIED, ...change };
  const shown = tidyTree(tree, tidy);
  return nodeBehind(tree, tidy, pathHash(shown, nodeByNames(shown, ...names)));
};

test("behind a frame that is shown is the largest of the nodes that it was made of", () => {
  expect(behind({ hide: ["wrap"] }, "main", "a")).toBe(nodeByNames(tree, "main", "wrap", "a"));
  expect(behind({ hide: ["wrap"] }, "main", "a", "b")).toBe(nodeByNames(tree, "main", "wrap", "a", "b"));
  expect(behind({ fold: ["wrap"] }, "main", "wrap")).toBe(nodeByNames(tree, "main", "wrap"));
  expect(behind({ hide: ["main"] }, "a")).toBe(nodeByNames(tree, "main", "a"));
});

test("behind a path that the tidied tree has not is nothing", () => {
  const path = pathHash(tree, nodeByNames(tree, "main", "wrap"));
  expect(nodeBehind(tree, { ...NOT_TIDIED, hide: ["wrap"] }, path)).toBe(-1);
});

import { expect, test } from "vitest";
import { nodeByNames, profileFromText } from "../testing/profile-from-text";
import { nodeName } from "./call-tree";
import { carryOver, firstOpen, revealed, visibleRows } from "./tree-rows";

const { tree } = profileFromText(`
  web[p]  web[p]  web[p]  web[p]  db[p]
  main    main    main    main    scan
  hash    hash    hash    read
  mix     mix     cmp
`);
const names = (open: ReadonlySet<number>) => visibleRows(tree, open).map((i) => nodeName(tree, i));

/** The first look must show where most of the time goes without a click. */
test("an outline opens along the heaviest path", () => {
  expect(names(new Set())).toEqual(["all"]);
  expect(names(firstOpen(tree))).toEqual(["all", "web", "main", "hash", "mix", "cmp", "read", "db"]);
  const read = nodeByNames(tree, "web", "main", "read");
  expect(names(revealed(tree, new Set(), read))).toEqual(["all", "web", "main", "hash", "read", "db"]);
});

/** A refresh renumbers nodes; what was open stays open. */
test("what is open stays open in the next answer", () => {
  const next = profileFromText("db[p]  db[p]  web[p]\nscan   scan   main\n              hash");
  const open = carryOver(tree, firstOpen(tree), next.tree);
  expect(visibleRows(next.tree, open).map((i) => nodeName(next.tree, i))).toEqual(["all", "db", "web", "main", "hash"]);
});

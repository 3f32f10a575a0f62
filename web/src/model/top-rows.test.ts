import { expect, test } from "vitest";
import { parseSearch } from "./search";
import { topRows } from "./top-rows";

const ROWS = [
  { name: "hash", kind: 2, file: null, binary: "/b", self: 5, total: 9 },
  { name: "read", kind: 3, file: null, binary: null, self: 3, total: 12 },
  { name: "rehash", kind: 2, file: null, binary: "/a", self: 3, total: 4 },
];
const names = (search: string, by: "self" | "total" | "name" | "binary", ascending: boolean) =>
  topRows(ROWS, parseSearch(search), { by, ascending }).map((row) => row.name);

/** Equal rows stay in the server's order, so that the table does not jump at a refresh. */
test("rows are sorted by any column, both ways", () => {
  expect(names("", "self", false)).toEqual(["hash", "read", "rehash"]);
  expect(names("", "self", true)).toEqual(["read", "rehash", "hash"]);
  expect(names("", "total", false)).toEqual(["read", "hash", "rehash"]);
  expect(names("", "name", true)).toEqual(["hash", "read", "rehash"]);
  expect(names("", "binary", true)).toEqual(["read", "rehash", "hash"]);
});

/** A regular expression that is being typed must not empty the table. */
test("rows are those that the search matches, and all while it is not valid", () => {
  expect(names("hash", "self", false)).toEqual(["hash", "rehash"]);
  expect(names('"hash"', "self", false)).toEqual(["hash"]);
  expect(names("/(/", "self", false)).toHaveLength(3);
  expect(names("kind:kernel", "self", false)).toEqual(["read"]);
});

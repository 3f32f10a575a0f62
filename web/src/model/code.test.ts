/** What belongs together decides what a click shows. */

import { describe, expect, test } from "vitest";
import { hottest, instructionsOf, listing, nextHottest } from "./code";

const weights = (...selves: number[]) => selves.map((self) => ({ self, total: self }));

const at = (file: string | null, line: number | null) => ({ file, line });
const instructions = [at("/src/a.c", 3), at("/src/b.h", 3), at("/src/a.c", 4), at("/src/a.c", 3), at(null, null)];

describe("code", () => {
  /** A view opens where the time is. */
  test("the hottest row has the most self, then the most total, then comes first", () => {
    expect(hottest([])).toBe(-1);
    expect(hottest(weights(1, 5, 5, 2))).toBe(1);
    expect(
      hottest([
        { self: 0, total: 1 },
        { self: 0, total: 7 },
      ]),
    ).toBe(1);
  });

  /** A step goes through all that has weight, and back to the start. */
  test("steps go by falling weight and round", () => {
    const rows = weights(1, 5, 0, 2);
    expect([-1, 1, 3, 0].map((from) => nextHottest(rows, from))).toEqual([1, 3, 0, 1]);
    expect(nextHottest(weights(0, 0), 0)).toBe(-1);
  });

  /** The same number in another file is another line. */
  test("a line has the instructions of its own file alone", () => {
    expect([...instructionsOf(3, "/src/a.c", instructions)]).toEqual([0, 3]);
    expect([...instructionsOf(4, "/src/a.c", instructions)]).toEqual([2]);
    expect([...instructionsOf(null, "/src/a.c", instructions)]).toEqual([]);
  });
});

/** What is copied reads like what is on the screen. */
test("a listing is text in columns", () => {
  const rows = [
    { self: 0, total: 0, mark: "9", text: "for (;;)" },
    { self: 30, total: 40, mark: "10", text: "  step();" },
  ];
  expect(listing(rows, 40).split("\n")).toEqual([
    "                      9  for (;;)",
    "   75.0 %     100 %  10    step();",
  ]);
});

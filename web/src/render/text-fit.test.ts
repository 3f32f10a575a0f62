import { expect, test } from "vitest";
import { TextFit } from "./text-fit";

/** One unit a character, two for anything outside ASCII. */
const fit = new TextFit((character) => (character.charCodeAt(0) < 128 ? 1 : 2));

/** The full name if it fits, else the short one, else the start of the short one. */
test("the longest form that fits is shown", () => {
  const names = ["alpha::beta::gamma", "beta::gamma"];
  expect([20, 12, 8, 4, 3].map((width) => fit.fit(names, width))).toEqual([
    "alpha::beta::gamma",
    "beta::gamma",
    "beta::…",
    "be…",
    "",
  ]);
});

/** Wide characters are measured, not counted. */
test("characters outside ASCII take their own width", () => {
  expect([fit.fit(["日本語"], 6), fit.fit(["日本語"], 5), fit.fit(["日本語"], 7)]).toEqual(["日本語", "", "日本語"]);
});

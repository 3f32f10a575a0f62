import { describe, expect, test } from "vitest";
import { chosenValues, completionAt, formatSelector, parseSelector, toggleValue, withoutLabel } from "./selector";

describe("selectors", () => {
  /** Written as the server reads it, whatever is in the value. */
  test.each([["postgres"], ['a "quoted" \\ name'], ["two\nlines\tand a tab"], ["{x=1}, y"], [""]])(
    "carry the value %j there and back",
    (value) => {
      const text = formatSelector([
        { label: "comm", op: "=", value },
        { label: "pid", op: "!~", value: "1.*" },
      ]);
      expect(parseSelector(text)).toEqual([
        { label: "comm", op: "=", value },
        { label: "pid", op: "!~", value: "1.*" },
      ]);
    },
  );

  /** Braces and spaces are a matter of taste; what is not understood is not touched. */
  test("are read with and without braces", () => {
    expect(parseSelector('comm = "a",pid="1"')).toEqual(parseSelector('{comm="a", pid="1"}'));
    expect(parseSelector("")).toEqual([]);
    expect(["comm", "{comm=a}", '{comm="a"', '{comm="a" pid="1"}'].map(parseSelector)).toEqual([
      null,
      null,
      null,
      null,
    ]);
  });

  /** One click pins, another lets go; other labels stay. */
  test("toggle one value of one label", () => {
    const pinned = toggleValue('{unit="a"}', "comm", "x");
    expect(pinned).toBe('{unit="a", comm="x"}');
    expect(chosenValues(pinned, "comm")).toEqual({ included: ["x"], excluded: [] });
    expect(toggleValue(pinned, "comm", "x")).toBe('{unit="a"}');
    expect(toggleValue("nonsense", "comm", "x")).toBe('{comm="x"}');
    expect(withoutLabel(pinned, "comm")).toBe('{unit="a"}');
    expect(withoutLabel("nonsense", "comm")).toBe("nonsense");
  });

  /** Facets: any number in, any number out, whatever signs the values have; a person's own expression stays. */
  test("include and exclude several values of a label", () => {
    let selector = '{comm=~"web-.*"}';
    for (const value of ["a.b", "c|d", "e"]) selector = toggleValue(selector, "comm", value, "excluded");
    expect(selector).toBe('{comm=~"web-.*", comm!~"a\\\\.b|c\\\\|d|e"}');
    expect(chosenValues(selector, "comm")).toEqual({ included: [], excluded: ["a.b", "c|d", "e"] });
    selector = toggleValue(selector, "comm", "e");
    expect(chosenValues(selector, "comm")).toEqual({ included: ["e"], excluded: ["a.b", "c|d"] });
    for (const value of ["a.b", "c|d"]) selector = toggleValue(selector, "comm", value, "excluded");
    expect(toggleValue(selector, "comm", "e")).toBe('{comm=~"web-.*"}');
  });

  /** What may come next at the caret, and what it would replace. */
  test.each([
    ["", { what: "label", typed: "", from: 0, to: 0 }],
    ["{co", { what: "label", typed: "co", from: 1, to: 3 }],
    ['{comm="x", un', { what: "label", typed: "un", from: 11, to: 13 }],
    ["{comm=", { what: "operator", label: "comm", from: 5, to: 6 }],
    ['{comm="po', { what: "value", label: "comm", typed: "po", from: 6, to: 9 }],
    ['{comm="a, b', { what: "value", label: "comm", typed: "a, b", from: 6, to: 11 }],
    ['{comm="x"', null],
    ["comm nonsense ", null],
  ])("%s can go on", (text, wanted) => {
    expect(completionAt(text, text.length)).toEqual(wanted);
  });
});

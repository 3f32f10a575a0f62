import { describe, expect, test } from "vitest";
import { formatSelector, parseSelector, pinnedValue, toggleValue, withoutLabel } from "./selector";

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
    expect(pinnedValue(pinned, "comm")).toBe("x");
    expect(toggleValue(pinned, "comm", "x")).toBe('{unit="a"}');
    expect(toggleValue(pinned, "comm", "y")).toBe('{unit="a", comm="y"}');
    expect(toggleValue("nonsense", "comm", "x")).toBe('{comm="x"}');
    expect(withoutLabel(pinned, "comm")).toBe('{unit="a"}');
    expect(withoutLabel("nonsense", "comm")).toBe("nonsense");
  });
});

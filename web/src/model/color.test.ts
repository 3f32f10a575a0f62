import { describe, expect, test } from "vitest";
import { profileFromText } from "../testing/profile-from-text";
import { contrast, darkTheme, type FlameTheme, INK_COUNT, kindInk, lightTheme, mix } from "./color";
import { colorFrames } from "./coloring";

describe.each([
  ["light", lightTheme()],
  ["dark", darkTheme()],
] as [string, FlameTheme][])("the %s theme", (_, theme) => {
  /** WCAG AA for small text, for each ink (kinds, categories, differences), also while a search fades it. */
  test("has text that can be read on every fill", () => {
    for (const [where, inks] of Object.entries({ plain: theme.inks, faded: theme.faded, match: [theme.match] })) {
      inks.forEach((ink, i) => {
        expect(contrast(ink.fill, ink.text), `${where} ink ${i}: ${ink.fill}`).toBeGreaterThanOrEqual(4.5);
      });
    }
  });

  /** A frame's ink index is never out of range. */
  test("has all inks", () => {
    expect(theme.inks.length).toBe(INK_COUNT);
    expect(theme.faded.length).toBe(INK_COUNT);
  });

  /** What is chosen, pointed at or matched must stand out from what is around it (WCAG 1.4.11: 3:1). */
  test("has marks that stand out from the background", () => {
    for (const mark of [theme.selection, theme.hover, theme.match.fill]) {
      expect(contrast(mark, theme.background)).toBeGreaterThanOrEqual(3);
    }
  });
});

describe("colours", () => {
  /** The reference values of WCAG. */
  test("are measured as WCAG does", () => {
    expect(contrast("#000000", "#ffffff")).toBeCloseTo(21, 5);
    expect(contrast("#777777", "#ffffff")).toBeCloseTo(4.48, 2);
    expect(mix("#000000", "#ffffff", 0.5)).toBe("#808080");
  });

  /** A function looks the same tomorrow, in another profile. */
  test("depend on kind and name alone", () => {
    const inkOf = (text: string, name: string) => {
      const { tree } = profileFromText(text);
      const f = [...tree.frames.name].findIndex((n) => tree.frames.strings[n] === name);
      return colorFrames(tree, "kind").inks[f];
    };
    expect(inkOf("main", "main")).toBe(inkOf("x\ny\nmain", "main"));
    const shade = inkOf("read", "read") - kindInk(2);
    expect(shade).toBeLessThan(3);
    expect(inkOf("read[k]", "read")).toBe(kindInk(3, shade));
  });

  /** The server counts all samples; the tree that was sent has a fifth of them in frames too small to send. */
  test("have the server's figures in the legend", () => {
    const { tree } = profileFromText(`
      web[p]  web[p]  web[p]  web[p]  web[p]
      main    main    main    read[k] [r]
    `);
    const legend = (counted: Parameters<typeof colorFrames>[2]) =>
      Object.fromEntries(colorFrames(tree, "kind", counted).legend.map(({ label, self }) => [label, self]));
    expect(legend(null)).toEqual({ native: 3, kernel: 1, collapsed: 1 });
    const kinds = [0, 0, 3, 1, 0, 1, 0, 0, 0];
    expect(legend({ kinds, incomplete: 2 })).toEqual({
      native: 3,
      kernel: 1,
      "no symbol": 1,
      "cut short": 2,
      collapsed: 1,
    });
    // By package or binary the page has nothing but the tree: what is missing of it has an entry.
    expect(colorFrames(tree, "binary").legend.map(({ label }) => label)).toContain("collapsed");
  });
});

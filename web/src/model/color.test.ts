import { describe, expect, test } from "vitest";
import { profileFromText } from "../testing/profile-from-text";
import { KIND_COUNT } from "./call-tree";
import { contrast, DARK_THEME, type FlameTheme, frameInks, KIND_LABELS, LIGHT_THEME, mix, SHADES } from "./color";

describe.each([
  ["light", LIGHT_THEME],
  ["dark", DARK_THEME],
] as [string, FlameTheme][])("the %s theme", (_, theme) => {
  /** WCAG AA for small text, for each kind and shade, also while a search fades it. */
  test("has text that can be read on every fill", () => {
    for (const [where, inks] of Object.entries({ plain: theme.inks, faded: theme.faded, match: [theme.match] })) {
      inks.forEach((ink, i) => {
        expect(
          contrast(ink.fill, ink.text),
          `${where} ${KIND_LABELS[Math.floor(i / SHADES)]} ${ink.fill}`,
        ).toBeGreaterThanOrEqual(4.5);
      });
    }
  });

  /** Every kind has its shades; a frame's ink index is never out of range. */
  test("has an ink for each kind and shade", () => {
    expect(theme.inks.length).toBe(KIND_COUNT * SHADES);
    expect(theme.faded.length).toBe(KIND_COUNT * SHADES);
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
      const { frames } = profileFromText(text).tree;
      const f = [...frames.name].findIndex((n) => frames.strings[n] === name);
      return frameInks(frames)[f];
    };
    expect(inkOf("main", "main")).toBe(inkOf("x\ny\nmain", "main"));
    expect(Math.floor(inkOf("read[k]", "read") / SHADES)).toBe(3);
    expect(Math.floor(inkOf("read", "read") / SHADES)).toBe(2);
  });
});

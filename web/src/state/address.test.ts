/** The address follows the view, with an entry for each step that a person would take back. */

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Address } from "./address";

let entries: string[];
let address: Address;

beforeEach(() => {
  vi.useFakeTimers();
  entries = ["start"];
  address = new Address((text, step) => {
    if (step) entries.push(text);
    else entries[entries.length - 1] = text;
  });
});
afterEach(() => {
  vi.useRealTimers();
});

test("a step is written at once", () => {
  address.change("zoomed", true);
  expect(entries).toEqual(["start", "zoomed"]);
});

test("steps at a person's pace are an entry each", () => {
  const steps = Array.from({ length: 30 }, (_, i) => String(i));
  for (const step of steps) {
    address.change(step, true);
    vi.advanceTimersByTime(310);
  }
  expect(entries).toEqual(["start", ...steps]);
});

test("so are a few at once", () => {
  for (const step of ["a", "b", "c", "d", "e"]) address.change(step, true);
  expect(entries).toEqual(["start", "a", "b", "c", "d", "e"]);
});

test("a key held down makes few entries, and the last is where it ended", () => {
  for (let i = 0; i < 100; i++) {
    address.change(String(i), true);
    vi.advanceTimersByTime(33);
  }
  vi.advanceTimersByTime(1_000);
  expect(entries.length).toBeLessThanOrEqual(1 + 5 + 4_300 / 300);
  expect(entries.at(-1)).toBe("99");
});

test("typing changes the present entry when it rests", () => {
  for (const text of ["m", "ma", "mal", "mall"]) {
    address.change(text, false);
    vi.advanceTimersByTime(100);
    expect(entries).toEqual(["start"]);
  }
  vi.advanceTimersByTime(200);
  expect(entries).toEqual(["mall"]);
});

test("what was typed is in the entry that a step leaves", () => {
  address.change("typed", false);
  address.change("zoomed", true);
  expect(entries).toEqual(["typed", "zoomed"]);
});

/** More than may be written at once. */
function burst(): void {
  for (let i = 0; i < 5; i++) address.change(`quick ${i}`, true);
}

test("what follows a waiting step is in its entry", () => {
  burst();
  address.change("b", true);
  address.change("b and chosen", false);
  vi.advanceTimersByTime(1_000);
  expect(entries.slice(-2)).toEqual(["quick 4", "b and chosen"]);
});

test("going back forgets what was waiting", () => {
  burst();
  address.change("b", true);
  address.forget();
  vi.advanceTimersByTime(1_000);
  expect(entries.at(-1)).toBe("quick 4");
});

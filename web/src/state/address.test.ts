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
  for (const step of ["a", "b", "c"]) {
    address.change(step, true);
    vi.advanceTimersByTime(400);
  }
  expect(entries).toEqual(["start", "a", "b", "c"]);
});

test("a key held down makes few entries, and the last is where it ended", () => {
  for (let i = 0; i < 100; i++) {
    address.change(String(i), true);
    vi.advanceTimersByTime(33);
  }
  vi.advanceTimersByTime(1_000);
  expect(entries.length).toBeLessThanOrEqual(3_300 / 300 + 3);
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

test("what follows a waiting step is in its entry", () => {
  address.change("a", true);
  address.change("b", true);
  address.change("b and chosen", false);
  vi.advanceTimersByTime(1_000);
  expect(entries).toEqual(["start", "a", "b and chosen"]);
});

test("going back forgets what was waiting", () => {
  address.change("a", true);
  address.change("b", true);
  address.forget();
  vi.advanceTimersByTime(1_000);
  expect(entries).toEqual(["start", "a"]);
});

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { ENDS, LOSSES, MISSES, remedyForNameless, remedyForNote } from "./remedies";

const rust = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), "utf8");
const quoted = (text: string, from: RegExp) => [...text.matchAll(from)].map((found) => found[1]);

/** The server's words, read from its source: one that is new there needs a remedy here. */
test("every cause, end, note and reason of the server has words and a remedy", () => {
  const losses = quoted(rust("profiler/src/profile/loss.rs"), /Self::\w+ => "(\w+)"/g);
  expect(losses.length).toBeGreaterThan(4);
  expect(losses.filter((name) => LOSSES[name] === undefined)).toEqual([]);
  const misses = quoted(rust("profiler/src/profile/missed.rs"), /Self::\w+ => "(\w+)"/g);
  expect(misses.length).toBe(5);
  expect(Object.keys(MISSES).sort()).toEqual(misses.sort());
  const ends = quoted(rust("profiler-ebpf/src/lib.rs"), /Self::\w+ => "([a-z_]+)"/g);
  expect(ends).toContain("frame_pointer_lost");
  const counters = ["taken", "idle"];
  expect(ends.filter((name) => ENDS[name] === undefined && !counters.includes(name))).toEqual([]);
  const named = quoted(rust("profiler/src/query/note.rs"), /StackEnd::\w+ => "(\[[^"]+\])"/g);
  expect(named.length).toBeGreaterThan(8);
  expect(named.filter((note) => remedyForNote(note) === "")).toEqual([]);
  const reasons = quoted(rust("profiler/src/profile/symbol.rs"), /Self::\w+ => "([^"]+ [^"]+)"/g);
  expect(reasons.length).toBeGreaterThan(6);
  expect(reasons.filter((reason) => remedyForNameless(reason) === "")).toEqual([]);
  expect(Object.keys(ENDS)).toContain("complete");
});

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { commandFor, ENDS, LOSSES, MISSES, REASONS, remedyForEnd } from "./remedies";

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
  const notes = quoted(rust("profiler/src/query/note.rs"), /StackEnd::\w+ => "(\[[^"]+\])"/g);
  expect(notes.length).toBeGreaterThan(8);
  const symbol = rust("profiler/src/profile/symbol.rs");
  const codes = quoted(symbol, /Self::\w+ => "([a-z_]+)"/g);
  const words = quoted(symbol, /Self::\w+ => "([^"]+ [^"]+)"/g);
  expect(codes.length).toBeGreaterThan(10);
  expect(Object.keys(REASONS).sort()).toEqual([...codes, "not_asked"].sort());
  // One wording, wherever it is read.
  const notAsked = quoted(symbol, /NOT_ASKED: &str = "([^"]+)"/g);
  expect(
    Object.values(REASONS)
      .map(({ what }) => what)
      .sort(),
  ).toEqual([...words, ...notAsked].sort());
  expect(Object.values(REASONS).every(({ how }) => how !== "")).toBe(true);
  expect(Object.keys(ENDS)).toContain("complete");
});

/** V8 compiles its built-in functions without them: advice to build it otherwise would be wrong. */
test("what cannot be helped is not advised", () => {
  expect(remedyForEnd("no_unwind_rows", "/usr/bin/node").command).toBeUndefined();
  expect(remedyForEnd("no_unwind_rows", "/usr/bin/node").how).toContain("nothing can be done");
  expect(remedyForEnd("no_unwind_rows", "/usr/lib/libx.so").command).toBe("-fasynchronous-unwind-tables");
});

/** A command is about this host's file, whatever it is called. */
test("the database's path is in the command, as a shell reads it", () => {
  expect(commandFor(LOSSES.damaged, "/var/lib/profiler/profiles.db")).toBe(
    "profiler db check /var/lib/profiler/profiles.db",
  );
  expect(commandFor(LOSSES.queue_full, "/tmp/it's here/$&.db")).toBe("df -h '/tmp/it'\\''s here/$&.db'");
  expect(commandFor(LOSSES.ring_full, "/x.db")).toBe("profiler run -F 49");
  expect(commandFor(LOSSES.undecodable, "/x.db")).toBeUndefined();
});

/** Java's flag helps no Ruby: where the server knows the runtime, its words stand, and where it does not, no runtime's. */
test("code that was made at run time is helped by the words of its runtime", () => {
  const end = "jit_frame_pointer_lost";
  expect(remedyForEnd(end, null, "start the program with ruby --yjit --yjit-perf").how).toBe(
    "Start the program with ruby --yjit --yjit-perf.",
  );
  const unknown = remedyForEnd(end, null, null);
  expect(`${unknown.how} ${unknown.command ?? ""}`).not.toMatch(/java|node/);
  expect(REASONS.no_file.how).not.toMatch(/node|python/);
});

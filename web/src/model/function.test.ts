import { expect, test } from "vitest";
import type { FrameTable } from "./call-tree";
import { formatFunction, framesOf, functionOf, parseFunction } from "./function";

/** The server is asked with these texts and reads them: `profiler/src/query/one_function.rs` has the same. */
test("a function is told from all others by its text", () => {
  const strings = ["a|b<日本>", "main", "/opt/x|y", "/usr/bin/app", "a.c"];
  const frames: FrameTable = {
    strings,
    name: Uint32Array.of(0, 1, 1, 1, 1),
    kind: Uint8Array.of(2, 2, 4, 2, 2),
    binary: Int32Array.of(2, 3, 3, 3, -1),
    file: Int32Array.of(4, -1, -1, 4, -1),
    line: new Uint32Array(5),
    reason: new Int32Array(5).fill(-1),
  };
  const texts = [
    "2|/opt/xy|a.c|a|b<日本>",
    "2|/usr/bin/app||main",
    "4|/usr/bin/app||main",
    "2|/usr/bin/app|a.c|main",
    "2|||main",
  ];
  texts.forEach((text, at) => {
    expect(formatFunction(functionOf(frames, at))).toBe(text);
    const wanted = parseFunction(text);
    expect(wanted !== null && [...framesOf(frames, wanted).entries()].filter(([, one]) => one === 1)).toEqual([
      [at, 1],
    ]);
  });
  for (const text of ["", "main", "2|||", "x|||main", "2||main"]) expect(parseFunction(text)).toBeNull();
});

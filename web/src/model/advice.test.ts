import { expect, test } from "vitest";
import { advice } from "./advice";

const server = { command: "profiler run --debuginfod=https://debuginfod.debian.net", note: "start the profiler so" };
const file = (path: string, samples_self: number, frames: number, named: number, remedies = [server]) => ({
  path,
  program: null,
  samples_self,
  frames,
  named,
  remedies,
});

/** What helps several files is one step with the samples of all; the step that gives most comes first; what nothing helps is no step. */
test("the steps that give most come first, each once", () => {
  const found = advice(
    [
      file("/usr/lib/liblzma.so.5", 70, 100, 0),
      file("/usr/bin/git", 40, 100, 50),
      file("/opt/own/app", 900, 10, 0, []),
      file("/usr/lib/libc.so.6", 500, 80, 80),
    ],
    [
      {
        comm: "django",
        runtime: "CPython",
        total: 60,
        named: 10,
        remedies: [{ command: "py-spy record", note: null }],
      },
    ],
    [
      { comm: "java", binary: null, samples: 200, remedy: "start the program with java -XX:+PreserveFramePointer" },
      { comm: "web", binary: "/usr/lib/libx.so", samples: 5, remedy: null },
    ],
  );
  expect(found.map(({ gain, samples, about }) => [gain, samples, about])).toEqual([
    ["whole", 200, ["java"]],
    ["named", 90, ["liblzma.so.5", "git"]],
    ["script", 50, ["django (CPython)"]],
  ]);
  expect(advice([], [], [])).toEqual([]);
});

/** No more than a person does at one sitting. */
test("the list is short", () => {
  const many = Array.from({ length: 20 }, (_, i) =>
    file(`/usr/bin/f${i}`, i + 1, 1, 0, [{ command: `c${i}`, note: "" }]),
  );
  const found = advice(many, [], []);
  expect([found.length, found[0].about[0]]).toEqual([6, "f19"]);
});

import { expect, test } from "vitest";
import { advice } from "./advice";

const server = { command: "profiler run --debuginfod=https://debuginfod.debian.net", note: "start the profiler so" };
const file = (path: string, remedies = [server]) => ({ path, program: null as string | null, remedies });
const unnamed = (binary: string | null, samples: number, reason = "no_symbols") => ({ reason, binary, samples });

/**
 * What helps several files is one step with the samples of all that ended there without a name, to the sample; the step that gives most
 * comes first; what nothing helps, or comes by itself, is no step. Two builds of one file are counted once.
 */
test("the steps that give most come first, each once", () => {
  const found = advice(
    [
      file("/usr/lib/liblzma.so.5"),
      file("/usr/lib/liblzma.so.5"),
      file("/usr/bin/git"),
      file("/opt/own/app", []),
      file("/usr/lib/libc.so.6"),
      { ...file("[anon]"), program: "/usr/bin/node" },
    ],
    [
      unnamed("/opt/own/app", 900),
      unnamed("[anon]", 300, "no_file"),
      unnamed("/usr/lib/liblzma.so.5", 70),
      unnamed("/usr/bin/git", 14),
      unnamed("/usr/bin/git", 6, "not_found"),
      unnamed("/usr/lib/libc.so.6", 500, "not_asked"),
      unnamed(null, 3),
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
  expect(advice([], [], [], [])).toEqual([]);
});

/** No more than a person does at one sitting. */
test("the list is short", () => {
  const many = Array.from({ length: 20 }, (_, i) => file(`/usr/bin/f${i}`, [{ command: `c${i}`, note: "" }]));
  const found = advice(
    many,
    many.map(({ path }, i) => unnamed(path, i + 1)),
    [],
    [],
  );
  expect([found.length, found[0].about[0]]).toEqual([6, "f19"]);
});

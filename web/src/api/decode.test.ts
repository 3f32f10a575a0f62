import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { describeFrame, FrameKind } from "../model/call-tree";
import { flameGraphFromText } from "../testing/profile-from-text";
import { syntheticFlameGraph } from "../testing/synthetic";
import type {
  Binaries,
  Diff,
  Disassembly,
  FlameGraph,
  HeatMap,
  LabelValues,
  Problem,
  Quality,
  Source,
  Status,
  Timeline,
  Top,
} from "./contract";
import {
  checkBinaries,
  checkDisassembly,
  checkHeatMap,
  checkLabelValues,
  checkQuality,
  checkSource,
  checkStatus,
  checkTimeline,
  checkTop,
  decodeDiff,
  decodeFlameGraph,
  MalformedAnswer,
} from "./decode";

/** Makes the check fail that no answer may slip through. */
const broken = (change: (answer: FlameGraph) => void): FlameGraph => {
  const answer = flameGraphFromText(`
    main  main
    a     b
  `);
  change(answer);
  return answer;
};

describe("decoding a flame graph", () => {
  /** Absent parts are null, not empty text, and line 0 is no line. */
  test("describes frames with what is known about them", () => {
    const answer = flameGraphFromText("main");
    answer.strings.push("/bin/app", "src/main.rs", "stripped");
    answer.frames.binary[1] = 2;
    answer.frames.file[1] = 3;
    answer.frames.line[1] = 12;
    const { frames } = decodeFlameGraph(answer).tree;
    expect(describeFrame(frames, 1)).toEqual({
      name: "main",
      kind: 2,
      binary: "/bin/app",
      source: "src/main.rs:12",
      reason: null,
    });
    expect(describeFrame(frames, 0)).toMatchObject({ binary: null, source: null, reason: null });
  });

  /** The made-up profiles obey the contract: they stand in for the server in the checks of the page. */
  test("accepts a made-up profile of 20,000 nodes whose totals add up", () => {
    const { tree, samples } = decodeFlameGraph(
      syntheticFlameGraph({ nodes: 20_000, samples: 1_000_000, names: 1_000, seed: 1 }),
    );
    expect(tree.size).toBeGreaterThan(15_000);
    expect(tree.total[0]).toBe(samples);
    const sums = Float64Array.from(tree.self);
    for (let i = tree.size - 1; i > 0; i--) sums[tree.parent[i]] += sums[i];
    expect(sums).toEqual(tree.total);
  });

  /** Each says which field is wrong, for the person who has to find out why. */
  test.each([
    ["nodes.self has 3 entries", (a: FlameGraph) => a.nodes.self.pop()],
    ["flamegraph.strings is object", (a: FlameGraph) => Object.assign(a, { strings: {} })],
    ["flamegraph.nodes is null", (a: FlameGraph) => Object.assign(a, { nodes: null })],
    ["flamegraph.samples is string", (a: FlameGraph) => Object.assign(a, { samples: "3" })],
    ["frame 1 points at string 99 of", (a: FlameGraph) => Object.assign(a.frames.binary, { 1: 99 })],
    ["node 2 has depth 5 after", (a: FlameGraph) => Object.assign(a.nodes.depth, { 2: 5 })],
  ])("refuses an answer where %s", (message, change) => {
    expect(() => decodeFlameGraph(broken(change))).toThrow(MalformedAnswer);
    expect(() => decodeFlameGraph(broken(change))).toThrow(message);
  });

  /** A proxy's page or a bare `null` is an answer too. */
  test.each([[null], ["text"], [{}]])("refuses %j", (answer) => {
    expect(() => decodeFlameGraph(answer as unknown as FlameGraph)).toThrow(MalformedAnswer);
  });
});

describe("the golden answers that the server's tests write", () => {
  const folder = join(import.meta.dirname, "../../../profiler/tests/golden/api");
  const checks: Record<string, (answer: never) => unknown> = {
    flamegraph: (answer: FlameGraph) => decodeFlameGraph(answer),
    timeline: (answer: Timeline) => checkTimeline(answer),
    timeline_groups: (answer: Timeline) => checkTimeline(answer),
    diff: (answer: Diff) => decodeDiff(answer),
    heatmap: (answer: HeatMap) => checkHeatMap(answer),
    top: (answer: Top) => checkTop(answer),
    status: (answer: Status) => checkStatus(answer),
    status_serving: (answer: Status) => checkStatus(answer),
    binaries: (answer: Binaries) => checkBinaries(answer),
    source: (answer: Source) => checkSource(answer),
    source_missing: (answer: Source) => checkSource(answer),
    source_nowhere: (answer: Source) => checkSource(answer),
    disassembly: (answer: Disassembly) => checkDisassembly(answer),
    disassembly_missing: (answer: Disassembly) => checkDisassembly(answer),
    disassembly_nowhere: (answer: Disassembly) => checkDisassembly(answer),
    quality: (answer: Quality) => checkQuality(answer),
    label_values: (answer: LabelValues) => checkLabelValues(answer),
  };

  /** Both sides of the wire are held to the same files; a missing one is a failure, not a pass. */
  test.each(Object.keys(checks))("%s.json is what this page understands", (name) => {
    const file = join(folder, `${name}.json`);
    expect(existsSync(file), `${file} is missing: run make bless`).toBe(true);
    expect(() => checks[name](JSON.parse(readFileSync(file, "utf8")) as never)).not.toThrow();
  });

  /** The totals of the server's own tree add up here as well, and its strings land where they belong. */
  test("draw the flame graph that the server meant", () => {
    const { tree, samples } = decodeFlameGraph(JSON.parse(readFileSync(join(folder, "flamegraph.json"), "utf8")));
    expect(tree.total[0]).toBe(samples);
    const sums = Float64Array.from(tree.self);
    for (let i = tree.size - 1; i > 0; i--) sums[tree.parent[i]] += sums[i];
    expect(sums).toEqual(tree.total);
    expect(describeFrame(tree.frames, tree.frame[0]).kind).toBe(FrameKind.Root);
    const unknown = [...tree.frames.kind].indexOf(FrameKind.Unknown);
    expect(describeFrame(tree.frames, unknown).reason).toBe("no_symbols");
    const note = [...tree.frames.kind].indexOf(FrameKind.Note);
    expect(describeFrame(tree.frames, note).reason).toBe("frame_pointer_lost");
  });

  /** The page shows title and detail to people. */
  test("say in two texts what is wrong", () => {
    const problem: Problem = JSON.parse(readFileSync(join(folder, "problem.json"), "utf8"));
    expect(problem).toEqual({
      status: expect.any(Number),
      code: expect.any(String),
      title: expect.any(String),
      detail: expect.any(String),
      command: null,
    });
  });

  /** A new kind of answer must be understood here before it ships. */
  test("hold no answer that this page does not know", () => {
    const known = new Set([
      ...Object.keys(checks),
      "labels",
      "symbolizing",
      "problem",
      "openapi",
      "health",
      "health_failing",
    ]);
    const files = existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith(".json")) : [];
    expect(files.map((file) => file.replace(/\.json$/, "")).filter((name) => !known.has(name))).toEqual([]);
  });
});

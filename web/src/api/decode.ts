/**
 * From the wire to the model: answers become typed arrays, or a `MalformedAnswer` that names the field.
 *
 * Input: JSON as parsed, of unknown shape. Output: model types that nobody needs to check again.
 */

import { type CallTree, callTree, type FrameTable, MalformedTree } from "../model/call-tree";
import type { Measure } from "../model/units";
import type {
  Binaries,
  Diff,
  Disassembly,
  FlameGraph,
  HeatMap,
  Labels,
  LabelValues,
  Quality,
  Source,
  Status,
  Timeline,
  Top,
} from "./contract";

/** The server's answer is not what the contract says: a bug, or another version. */
export class MalformedAnswer extends Error {
  override name = "MalformedAnswer";
}

/** A flame graph, ready to draw. */
export interface DecodedFlameGraph {
  fromMs: number;
  toMs: number;
  samples: number;
  /** What its numbers of samples stand for. */
  measure: Measure;
  incomplete: number;
  hiddenNodes: number;
  /** All samples by the kind of the frame they ended in, those of frames that were not sent too. */
  kinds: readonly number[];
  /** All samples of the function that was asked for, those of frames that were not sent too; null without one. */
  around: { total: number; self: number } | null;
  /** Time of the range that was recorded. */
  recordedMs: number;
  /** What the profiler itself took; null where it does not know its executable. */
  own: FlameGraph["own"];
  /** The process that took the most besides; null without samples. */
  hottest: FlameGraph["hottest"];
  tree: CallTree;
}

export function decodeFlameGraph(answer: FlameGraph): DecodedFlameGraph {
  const { strings, frames, nodes } = fields(answer, "flamegraph", {
    strings: "array",
    frames: "object",
    nodes: "object",
    samples: "number",
    from_ms: "number",
    to_ms: "number",
    ...MEASURE,
    incomplete: "number",
    hidden_nodes: "number",
    kinds: "array",
    recorded_ms: "number",
  });
  columns(nodes, "nodes", ["depth", "frame", "total", "self"]);
  const around = answer.around ?? null;
  if (around !== null) fields(around, "around", { total: "number", self: "number" });
  const { own = null, hottest = null } = answer;
  if (own !== null) fields(own, "own", { exe: "string", names: "array", total: "number" });
  if (hottest !== null) fields(hottest, "hottest", { process: "string", total: "number" });
  const table = frameTable(frames, strings);
  return {
    fromMs: answer.from_ms,
    toMs: answer.to_ms,
    samples: answer.samples,
    measure: measureOf(answer),
    incomplete: answer.incomplete,
    hiddenNodes: answer.hidden_nodes,
    kinds: answer.kinds,
    around,
    recordedMs: answer.recorded_ms,
    own,
    hottest,
    tree: treeOf(table, nodes),
  };
}

/** One side of a diff, as a tree of its own; nodes that it lacks have no samples. */
export interface DecodedSide {
  fromMs: number;
  toMs: number;
  samples: number;
  /** What its numbers of samples stand for. */
  measure: Measure;
  /** The most that one sample adds to them. */
  heaviest: number;
  /** Time of the range that was recorded. */
  recordedMs: number;
  tree: CallTree;
}

export interface DecodedDiff {
  before: DecodedSide;
  after: DecodedSide;
  hiddenNodes: number;
}

export function decodeDiff(answer: Diff): DecodedDiff {
  const { strings, frames, nodes } = fields(answer, "diff", {
    strings: "array",
    frames: "object",
    nodes: "object",
    before: "object",
    after: "object",
    hidden_nodes: "number",
  });
  columns(nodes, "nodes", ["depth", "frame", "total_before", "total_after", "self_before", "self_after"]);
  const table = frameTable(frames, strings);
  const { depth, frame } = nodes;
  const side = (about: Diff["before"], total: number[], self: number[]): DecodedSide => {
    fields(about, "side", {
      from_ms: "number",
      to_ms: "number",
      samples: "number",
      ...MEASURE,
      heaviest: "number",
      recorded_ms: "number",
    });
    const { from_ms: fromMs, to_ms: toMs, samples, heaviest, recorded_ms: recordedMs } = about;
    const tree = treeOf(table, { depth, frame, total, self });
    return { fromMs, toMs, samples, measure: measureOf(about), heaviest, recordedMs, tree };
  };
  return {
    before: side(answer.before, nodes.total_before, nodes.self_before),
    after: side(answer.after, nodes.total_after, nodes.self_after),
    hiddenNodes: answer.hidden_nodes,
  };
}

function frameTable(frames: FlameGraph["frames"], strings: string[]): FrameTable {
  const count = columns(frames, "frames", ["name", "kind", "binary", "file", "line", "reason"]);
  const table: FrameTable = {
    strings,
    name: new Uint32Array(frames.name),
    kind: new Uint8Array(frames.kind),
    binary: new Int32Array(frames.binary),
    file: new Int32Array(frames.file),
    line: new Uint32Array(frames.line),
    reason: new Int32Array(frames.reason),
  };
  for (let f = 0; f < count; f++) {
    const furthest = Math.max(table.name[f], table.binary[f], table.file[f], table.reason[f]);
    if (furthest >= strings.length) {
      throw new MalformedAnswer(`frame ${f} points at string ${furthest} of ${strings.length}`);
    }
  }
  return table;
}

function treeOf(table: FrameTable, nodes: Parameters<typeof callTree>[1]): CallTree {
  try {
    return callTree(table, nodes);
  } catch (error) {
    if (error instanceof MalformedTree) throw new MalformedAnswer(error.message);
    throw error;
  }
}

export function checkTimeline(answer: Timeline): Timeline {
  fields(answer, "timeline", {
    from_ms: "number",
    to_ms: "number",
    step_ms: "number",
    buckets: "object",
    gaps: "array",
    began_ms: "array",
    cpus: "number",
  });
  columns(answer.buckets, "buckets", [
    "samples",
    "busy_cores",
    "utilisation",
    "lost",
    "missed_share",
    "missed_cause",
    "incomplete",
  ]);
  return answer;
}

export function checkHeatMap(answer: HeatMap): HeatMap {
  return fields(answer, "heat map", {
    from_ms: "number",
    to_ms: "number",
    columns: "number",
    rows: "number",
    column_nanos: "number",
    samples: "array",
    untimed: "number",
    ...MEASURE,
  });
}

export function checkTop(answer: Top): Top {
  return fields(answer, "top", {
    samples: "number",
    ...MEASURE,
    rows: "array",
    hidden_rows: "number",
    unmatched_rows: "number",
  });
}

export function checkLabels(answer: Labels): Labels {
  return fields(answer, "labels", { labels: "array" });
}

export function checkLabelValues(answer: LabelValues): LabelValues {
  return fields(answer, "label values", {
    label: "string",
    values: "array",
    hidden_values: "number",
    samples: "number",
    ...MEASURE,
  });
}

export function checkQuality(answer: Quality): Quality {
  return fields(answer, "quality", {
    samples: "number",
    ...MEASURE,
    complete: "number",
    incomplete: "array",
    hidden_rows: "number",
    kinds: "array",
    unnamed: "array",
    hidden_unnamed: "number",
    interpreters: "array",
    hidden_interpreters: "number",
    script_total: "number",
    script_named: "number",
    missed_share: "number",
  });
}

export function checkSource(answer: Source): Source {
  return fields(answer, "source", {
    function: "string",
    total: "number",
    ...MEASURE,
    first_line: "number",
    lines: "array",
  });
}

export function checkDisassembly(answer: Disassembly): Disassembly {
  return fields(answer, "disassembly", { function: "string", total: "number", ...MEASURE, instructions: "array" });
}

export function checkBinaries(answer: Binaries): Binaries {
  return fields(answer, "binaries", {
    binaries: "array",
    ...MEASURE,
    hidden_rows: "number",
    frames: "number",
    named: "number",
  });
}

export function checkStatus(answer: Status): Status {
  fields(answer, "status", {
    version: "string",
    host: "string",
    totals: "object",
    database: "object",
    notices: "array",
  });
  fields(answer.totals, "totals", { taken: "number", stored: "number", lost: "object", stacks: "object" });
  fields(answer.database, "database", { path: "string", bytes: "number", windows: "number" });
  if (answer.recording !== null) {
    fields(answer.recording, "recording", { event: "string", hz: "number", cpus: "number", since_ms: "number" });
  }
  return answer;
}

type Shape = "number" | "string" | "boolean" | "object" | "array";

/** Of every answer that counts samples. */
const MEASURE = { scale: "number", counts_samples: "boolean" } as const;

function measureOf({ scale, counts_samples }: Measure): Measure {
  return { scale, counts_samples };
}

function fields<T extends object>(answer: T, what: string, wanted: Partial<Record<keyof T & string, Shape>>): T {
  if (typeof answer !== "object" || answer === null) throw new MalformedAnswer(`${what} is not an object`);
  for (const [name, shape] of Object.entries(wanted)) {
    const value: unknown = (answer as Record<string, unknown>)[name];
    const found: string = Array.isArray(value) ? "array" : value === null ? "null" : typeof value;
    if (found !== shape) throw new MalformedAnswer(`${what}.${name} is ${found}, not ${shape}`);
  }
  return answer;
}

/** Checks that all columns are arrays of one length, and returns it. */
function columns<T extends object>(table: T, what: string, names: readonly (keyof T & string)[]): number {
  let length = -1;
  for (const name of names) {
    const column: unknown = table[name];
    if (!Array.isArray(column)) throw new MalformedAnswer(`${what}.${name} is not an array`);
    if (length >= 0 && column.length !== length) {
      throw new MalformedAnswer(`${what}.${name} has ${column.length} entries, the columns before it ${length}`);
    }
    length = column.length;
  }
  return length;
}

/**
 * Questions to the server. Every address is relative to the page, so that the page works under any sub-path.
 *
 * An answer is the JSON of the contract; a failure is an `AnsweredError` (the server said no, and why) or an `Unreachable`
 * (nobody answered). Nothing is retried here.
 */

import type { FunctionId } from "../model/function";
import type { HeatBox } from "../model/heat-cells";
import type { Instant } from "../model/time-range";
import type {
  Binaries,
  Diff,
  Disassembly,
  FlameGraph,
  HeatMap,
  Labels,
  LabelValues,
  Problem,
  Quality,
  Source,
  Status,
  Symbolizing,
  Timeline,
  Top,
} from "./contract";
import {
  checkBinaries,
  checkDisassembly,
  checkHeatMap,
  checkLabels,
  checkLabelValues,
  checkQuality,
  checkSource,
  checkStatus,
  checkTimeline,
  checkTop,
  type DecodedDiff,
  type DecodedFlameGraph,
  decodeDiff,
  decodeFlameGraph,
} from "./decode";

/** The server refused the question. */
export class AnsweredError extends Error {
  override name = "AnsweredError";
  constructor(readonly problem: Problem) {
    super(problem.title);
  }
}

/** No answer: the server is gone, or the network is. */
export class Unreachable extends Error {
  override name = "Unreachable";
}

/** What a question is about. */
export interface Scope {
  from: Instant;
  to: Instant;
  filter: string;
  /** What is shown of names (`state/view.ts`); left out: all. */
  demangle?: string;
}

/** Longer than any honest query; the server has a deadline of its own. */
const TIMEOUT_MS = 60_000;

/** The timeline; with `by`, also the samples of each of the largest values of that label. */
export const fetchTimeline = async (
  scope: Scope,
  box: HeatBox | null,
  points: number,
  by: { label: string; series: number } | null,
  signal: AbortSignal,
): Promise<Timeline> => {
  const grouped = by === null ? {} : { by: by.label, series: by.series };
  const about = { ...scope, ...boxParameters(box), limit: points, ...grouped };
  return checkTimeline(await ask<Timeline>("timeline", about, signal));
};

/** What of a flame graph is wanted. */
export interface Shape {
  /** Of the heat map of the range; null: all of it. */
  box: HeatBox | null;
  /** Label whose values stand between the root and the processes. */
  group: string | null;
}

/** What the nodes that there may be are spent on: what is above and below a node (`model/focus-path.ts`), or a function (`model/function.ts`). */
export type Spend = { below?: string; around?: string };

/** The flame graph of a range, or of a box of its heat map: its heaviest nodes, or those that `spend` names. */
export const fetchFlameGraph = async (
  scope: Scope,
  { box, group }: Shape,
  spend: Spend,
  signal: AbortSignal,
): Promise<DecodedFlameGraph> => {
  const about = { ...scope, group: group ?? "", ...spend };
  const answer =
    box === null
      ? await ask<FlameGraph>("flamegraph", about, signal)
      : await ask<FlameGraph>("heatmap/flamegraph", { ...about, ...boxParameters(box) }, signal);
  performance.mark("decode:start");
  const decoded = decodeFlameGraph(answer);
  performance.measure("decode", "decode:start");
  return decoded;
};

function boxParameters(box: HeatBox | null): Parameters {
  if (box === null) return {};
  return {
    columns: box.columns,
    rows: box.rows,
    column_from: box.columnFrom,
    column_to: box.columnTo,
    row_from: box.rowFrom,
    row_to: box.rowTo,
  };
}

export const fetchHeatMap = async (
  scope: Scope,
  size: { columns: number; rows: number },
  signal: AbortSignal,
): Promise<HeatMap> =>
  // It has no names, and takes none.
  checkHeatMap(await ask<HeatMap>("heatmap", { ...scope, demangle: undefined, ...size }, signal));

/** How the sides of a difference are made comparable: shares of their samples, or CPU time by recorded time. */
export type DiffBy = "share" | "time";

/** Both sides, cut down together: what one has, the other has too. `below`: as of a flame graph. */
export const fetchDiff = async (
  base: Scope,
  scope: Scope,
  by: DiffBy,
  below: string | null,
  signal: AbortSignal,
): Promise<DecodedDiff> => {
  const sides = { ...scope, by, base_from: base.from, base_to: base.to, base_filter: base.filter, below: below ?? "" };
  // An empty filter is one; left out it would be the other side's.
  if (base.filter === "") sides.base_filter = "{}";
  return decodeDiff(await ask<Diff>("diff", sides, signal));
};

/** Which functions of all the table has, and in which order. */
export interface TopRows {
  sort: "self" | "total" | "name" | "binary";
  ascending: boolean;
  /** As in the search box (`model/search.ts`). */
  search: string;
}

export const fetchTop = async (
  scope: Scope,
  box: HeatBox | null,
  { sort, ascending, search }: TopRows,
  rows: number,
  signal: AbortSignal,
): Promise<Top> => {
  const wanted = { sort, order: ascending ? "asc" : "desc", search, limit: rows };
  return checkTop(await ask<Top>("top", { ...scope, ...boxParameters(box), ...wanted }, signal));
};

export const fetchLabelValues = async (
  label: string,
  scope: Scope,
  box: HeatBox | null,
  signal: AbortSignal,
): Promise<LabelValues> => {
  const path = `labels/${encodeURIComponent(label)}/values`;
  return checkLabelValues(await ask<LabelValues>(path, { ...scope, ...boxParameters(box) }, signal));
};

/** How good the samples are. */
export const fetchQuality = async (scope: Scope, box: HeatBox | null, signal: AbortSignal): Promise<Quality> =>
  checkQuality(await ask<Quality>("quality", { ...scope, ...boxParameters(box), limit: QUALITY_ROWS }, signal));

/** As many rows as the page lists. */
export const QUALITY_ROWS = 40;

export const fetchLabels = async (signal: AbortSignal): Promise<Labels> =>
  checkLabels(await ask<Labels>("labels", {}, signal));

export const fetchStatus = async (signal: AbortSignal): Promise<Status> =>
  checkStatus(await ask<Status>("status", {}, signal));

/** The lines of a function with their weights; those of a box of the heat map, if one is given; with text from these folders too. */
export const fetchSource = async (
  of: FunctionId,
  scope: Scope,
  box: HeatBox | null,
  folders: readonly string[],
  signal: AbortSignal,
): Promise<Source> => {
  const added = { source_map: folders.join("\n") };
  const about = { ...scope, ...boxParameters(box), function: of.name, file: of.file ?? "", ...added };
  return checkSource(await ask<Source>("source", about, signal));
};

/** The instructions of a function with their weights, likewise. */
export const fetchDisassembly = async (
  of: FunctionId,
  scope: Scope,
  box: HeatBox | null,
  signal: AbortSignal,
): Promise<Disassembly> => {
  const about = { ...scope, ...boxParameters(box), function: of.name, binary: of.binary ?? "" };
  return checkDisassembly(await ask<Disassembly>("disassembly", about, signal));
};

/** How well each file is named. */
export const fetchBinaries = async (scope: Scope, signal: AbortSignal): Promise<Binaries> =>
  checkBinaries(await ask<Binaries>("binaries", scope, signal));

/** Has what has no name looked up again. */
export const symbolize = (signal: AbortSignal): Promise<Symbolizing> =>
  ask<Symbolizing>("symbolize", {}, signal, "POST");

/** What can be downloaded. */
export type Download = `export/${"folded" | "svg" | "html" | "pprof"}` | "flamegraph" | "top";

/** Address of a download: an export, or an answer as it is; of a box of the heat map, if one is chosen. */
export function downloadAddress(path: Download, scope: Scope, box: HeatBox | null): string {
  const place = path === "flamegraph" && box !== null ? "heatmap/flamegraph" : path;
  return address(place, { ...scope, ...boxParameters(box) });
}

type Parameters = Partial<Record<string, string | number>>;

function address(path: string, parameters: object): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters as Parameters)) {
    if (value !== undefined && value !== "") query.set(name, String(value));
  }
  const text = query.toString();
  return text === "" ? `api/v1/${path}` : `api/v1/${path}?${text}`;
}

async function ask<T>(path: string, parameters: object, signal: AbortSignal, method = "GET"): Promise<T> {
  let response: Response;
  try {
    response = await fetch(address(path, parameters), {
      method,
      headers: { accept: "application/json" },
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
    });
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Unreachable("the profiler does not answer");
  }
  if (!response.ok) throw new AnsweredError(await problemOf(response));
  try {
    return (await response.json()) as T;
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Unreachable("the answer was cut short");
  }
}

/** The problem document, or one made up from the status line when something else answered (a proxy, say). */
async function problemOf(response: Response): Promise<Problem> {
  const made: Problem = {
    status: response.status,
    code: "http",
    title: `The server answered ${response.status} ${response.statusText}`.trim(),
    detail: "",
    command: null,
  };
  try {
    const body = (await response.json()) as Partial<Problem> | null;
    return {
      status: response.status,
      code: typeof body?.code === "string" ? body.code : made.code,
      title: typeof body?.title === "string" ? body.title : made.title,
      detail: typeof body?.detail === "string" ? body.detail : made.detail,
      command: typeof body?.command === "string" ? body.command : null,
    };
  } catch {
    return made;
  }
}

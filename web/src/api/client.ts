/**
 * Questions to the server. Every address is relative to the page, so that the page works under any sub-path.
 *
 * An answer is the JSON of the contract; a failure is an `AnsweredError` (the server said no, and why) or an `Unreachable`
 * (nobody answered). Nothing is retried here.
 */

import type { Instant } from "../model/time-range";
import type { FlameGraph, Labels, LabelValues, Problem, Status, Timeline, Top } from "./contract";
import {
  checkLabels,
  checkLabelValues,
  checkStatus,
  checkTimeline,
  checkTop,
  type DecodedFlameGraph,
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
}

/** Longer than any honest query; the server has a deadline of its own. */
const TIMEOUT_MS = 60_000;

export const fetchTimeline = async (scope: Scope, points: number, signal: AbortSignal): Promise<Timeline> =>
  checkTimeline(await ask<Timeline>("timeline", { ...scope, limit: points }, signal));

export const fetchFlameGraph = async (scope: Scope, signal: AbortSignal): Promise<DecodedFlameGraph> => {
  const answer = await ask<FlameGraph>("flamegraph", scope, signal);
  performance.mark("decode:start");
  const decoded = decodeFlameGraph(answer);
  performance.measure("decode", "decode:start");
  return decoded;
};

export const fetchTop = async (scope: Scope, rows: number, signal: AbortSignal): Promise<Top> =>
  checkTop(await ask<Top>("top", { ...scope, limit: rows }, signal));

export const fetchLabelValues = async (label: string, scope: Scope, signal: AbortSignal): Promise<LabelValues> =>
  checkLabelValues(await ask<LabelValues>(`labels/${encodeURIComponent(label)}/values`, scope, signal));

export const fetchLabels = async (signal: AbortSignal): Promise<Labels> =>
  checkLabels(await ask<Labels>("labels", {}, signal));

export const fetchStatus = async (signal: AbortSignal): Promise<Status> =>
  checkStatus(await ask<Status>("status", {}, signal));

/** Address of a download: an export, or an answer as it is. */
export function downloadAddress(path: "export/folded" | "export/svg" | "flamegraph" | "top", scope: Scope): string {
  return address(path, scope);
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

async function ask<T>(path: string, parameters: object, signal: AbortSignal): Promise<T> {
  let response: Response;
  try {
    response = await fetch(address(path, parameters), {
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
  };
  try {
    const body = (await response.json()) as Partial<Problem> | null;
    return {
      status: response.status,
      code: typeof body?.code === "string" ? body.code : made.code,
      title: typeof body?.title === "string" ? body.title : made.title,
      detail: typeof body?.detail === "string" ? body.detail : made.detail,
    };
  } catch {
    return made;
  }
}

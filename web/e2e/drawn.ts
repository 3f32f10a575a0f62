/** Random histories with the samples that they were made of, a server for each, and sums over the samples. */

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Sample {
  comm: string;
  pid: string;
  thread: string;
  unit: string | null;
  end: string;
  /** Start of its window (ms). */
  window: number;
  frames: { kind: number; name: string; binary: string; reason: string | null }[];
  /** When each was taken (ms). */
  times: number[];
}

export interface Drawn {
  windows: { from: number; to: number }[];
  samples: Sample[];
}

const PROFILER = process.env.PROFILER ?? "";
const RANDOM_PROFILE = process.env.RANDOM_PROFILE ?? "";
export const count = (samples: readonly Sample[]): number => samples.reduce((sum, { times }) => sum + times.length, 0);
export const isCut = ({ end }: Sample): boolean => end !== "complete";

/** Sums by a key; keys without samples do not occur. */
export function sums(samples: readonly Sample[], keyOf: (sample: Sample) => string | null): Record<string, number> {
  const found: Record<string, number> = {};
  for (const sample of samples) {
    const key = keyOf(sample);
    if (key !== null && sample.times.length > 0) found[key] = (found[key] ?? 0) + sample.times.length;
  }
  return found;
}

export const frameKey = ({ kind, name, binary }: Sample["frames"][number]): string => `${kind} ${name} ${binary}`;
/** The stack as a path of process and frames. */
const pathOf = (sample: Sample): string[] => [sample.comm, ...sample.frames.map(frameKey)];

export function pathTotals(samples: readonly Sample[]): Record<string, number> {
  const found: Record<string, number> = {};
  for (const sample of samples) {
    const path = pathOf(sample);
    for (let depth = 1; depth <= path.length; depth++) {
      const key = path.slice(0, depth).join(";");
      found[key] = (found[key] ?? 0) + sample.times.length;
    }
  }
  return found;
}

/** Samples with the frame on their stack, each once, and those that ended in it. */
export function functionSums(samples: readonly Sample[], key: string): { self: number; total: number } {
  const total = count(samples.filter(({ frames }) => frames.some((frame) => frameKey(frame) === key)));
  const last = ({ frames }: Sample) => frames.at(-1);
  const self = count(samples.filter((sample) => last(sample) !== undefined && frameKey(last(sample) as never) === key));
  return { self, total };
}

export interface Served {
  drawn: Drawn;
  url: string;
  end(): void;
}

/** The history of a seed, served by a real profiler. */
export async function serve(seed: number): Promise<Served> {
  const folder = mkdtempSync(join(tmpdir(), "profiler-figures-"));
  const database = join(folder, "random.db");
  const said = execFileSync(RANDOM_PROFILE, [String(seed), database], { encoding: "utf8", maxBuffer: 1 << 28 });
  const server: ChildProcess = spawn(PROFILER, ["serve", "--listen", "127.0.0.1:0", database], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const url = await new Promise<string>((resolve, reject) => {
    let told = "";
    server.stderr?.on("data", (text) => {
      told += text;
      const found = /open (http:\/\/[^ /]*)/.exec(told);
      if (found !== null) resolve(found[1]);
    });
    server.on("exit", () => reject(new Error(told)));
  });
  const end = () => {
    server.kill();
    rmSync(folder, { recursive: true, force: true });
  };
  return { drawn: JSON.parse(said), url, end };
}

/** Filters, and who passes them. */
export const FILTERS: readonly [string, (sample: Sample) => boolean][] = [
  ["", () => true],
  ['{comm="web"}', ({ comm }) => comm === "web"],
  ['{thread!="io"}', ({ thread }) => thread !== "io"],
  ['{unit=~".+"}', ({ unit }) => unit !== null],
];

/**
 * What to do first: the few steps that give most samples a name, a function of a script, or a whole stack. Pure.
 *
 * In: the server's rows about binaries, interpreters and stacks that are cut short, each with what helps. Out: one list by falling
 * samples. A step that helps several files stands once, with the samples of all.
 */

/** A command, and what it needs. */
export interface Help {
  command: string | null;
  note: string | null;
}

/** A file with samples. */
export interface NamedFile {
  path: string;
  /** What wrote it, where it is memory. */
  program: string | null;
  remedies: readonly Help[];
}

/** Samples that ended in a function without a name. */
export interface UnnamedSamples {
  reason: string;
  binary: string | null;
  samples: number;
}

/** Processes that a runtime runs. */
export interface Scripts {
  comm: string;
  runtime: string;
  total: number;
  named: number;
  remedies: readonly Help[];
}

/** Stacks that are cut short. */
export interface CutStacks {
  comm: string;
  binary: string | null;
  samples: number;
  remedy: string | null;
}

export interface Advice {
  /** What it gives. */
  gain: "named" | "script" | "whole";
  samples: number;
  /** Files or processes that it is about, the heaviest first. */
  about: string[];
  remedy: Help;
}

/** As many as a person does at one sitting. */
const MOST = 6;

export function advice(
  binaries: readonly NamedFile[],
  unnamed: readonly UnnamedSamples[],
  interpreters: readonly Scripts[],
  incomplete: readonly CutStacks[],
): Advice[] {
  const list: Advice[] = [];
  const add = (gain: Advice["gain"], samples: number, about: string, remedy: Help | undefined): void => {
    if (remedy === undefined || samples <= 0) return;
    const known = list.find((one) => one.gain === gain && sameHelp(one.remedy, remedy));
    if (known === undefined) list.push({ gain, samples, about: [about], remedy });
    else {
      known.samples += samples;
      if (!known.about.includes(about)) known.about.push(about);
    }
  };
  // By file, whatever builds of it there were.
  const without = new Map<string, number>();
  for (const { reason, binary, samples } of unnamed) {
    // What is looked up by itself needs no step.
    if (binary !== null && reason !== "not_asked") without.set(binary, (without.get(binary) ?? 0) + samples);
  }
  for (const { path, program, remedies } of binaries) {
    // Code that a program wrote is its runtime's, which has a row of its own.
    if (program !== null || remedies.length === 0) continue;
    // Servers of debug files help all files at once; the package is this file's own.
    add("named", without.get(path) ?? 0, baseOf(path), remedies[0]);
    without.delete(path);
  }
  for (const { comm, runtime, total, named, remedies } of interpreters) {
    add("script", total - named, `${comm} (${runtime})`, remedies[0]);
  }
  for (const { comm, binary, samples, remedy } of incomplete) {
    if (remedy !== null)
      add("whole", samples, binary === null ? comm : baseOf(binary), { command: null, note: remedy });
  }
  return list.sort((a, b) => b.samples - a.samples).slice(0, MOST);
}

function sameHelp(a: Help, b: Help): boolean {
  return a.command === null ? a.note === b.note && b.command === null : a.command === b.command;
}

function baseOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1) || path;
}

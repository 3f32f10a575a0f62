/**
 * How good a profile is, from its tree: stacks cut short by reason and binary, samples without a name by binary and reason.
 * Pure; what can be done about each is in `model/remedies.ts`.
 */

import { type CallTree, FrameKind } from "./call-tree";

export interface Shortfall {
  /** The note of a cut stack, or the reason of a missing name. */
  reason: string;
  /** Path; null where there is no file. */
  binary: string | null;
  samples: number;
}

/** Notes name the file as well: `[stack cut short: file has no unwind rows: libfoo.so]`. Here it has a column of its own. */
export const FILE_OF_NOTE = /(?<=: [^:]*): [^:]*\]$/;

/**
 * Stacks cut short. The binary is that of the outermost frame that could be seen: its caller is what is missing; frames of
 * the kernel do not count. By falling samples.
 */
export function cutShort(tree: CallTree): Shortfall[] {
  const found = new Shortfalls(tree);
  for (let i = 0; i < tree.size; i++) {
    if (tree.frames.kind[tree.frame[i]] !== FrameKind.Note) continue;
    const reason = tree.frames.strings[tree.frames.name[tree.frame[i]]].replace(FILE_OF_NOTE, "]");
    if (tree.self[i] > 0) found.add(reason, -1, tree.self[i]);
    for (let child = i + 1; child < tree.end[i]; child = tree.end[child]) {
      const frame = tree.frame[child];
      const user = tree.frames.kind[frame] !== FrameKind.Kernel;
      found.add(reason, user ? tree.frames.binary[frame] : -1, tree.total[child]);
    }
  }
  return found.sorted();
}

/** Samples that ended in a frame without a name. By falling samples. */
export function unnamed(tree: CallTree): Shortfall[] {
  const found = new Shortfalls(tree);
  const { kind, reason, binary, strings } = tree.frames;
  for (let i = 0; i < tree.size; i++) {
    const frame = tree.frame[i];
    if (kind[frame] !== FrameKind.Unknown || tree.self[i] === 0) continue;
    found.add(reason[frame] < 0 ? "no name is known" : strings[reason[frame]], binary[frame], tree.self[i]);
  }
  return found.sorted();
}

class Shortfalls {
  private readonly sums = new Map<string, Shortfall>();

  constructor(private readonly tree: CallTree) {}

  add(reason: string, binary: number, samples: number): void {
    const key = `${binary} ${reason}`;
    const known = this.sums.get(key);
    if (known !== undefined) known.samples += samples;
    else this.sums.set(key, { reason, binary: binary < 0 ? null : this.tree.frames.strings[binary], samples });
  }

  sorted(): Shortfall[] {
    return [...this.sums.values()].sort((a, b) => b.samples - a.samples);
  }
}

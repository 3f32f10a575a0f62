/** The frames of two trees in one table. Pure. */

import type { FrameTable } from "./call-tree";
import { formatFunction, functionOf } from "./function";

/** Both tables as one; equal functions once. */
export function mergeFrames(
  a: FrameTable,
  b: FrameTable,
): { frames: FrameTable; mapA: Uint32Array; mapB: Uint32Array } {
  const strings: string[] = [];
  const indexes = new Map<string, number>();
  const intern = (text: string): number => {
    const known = indexes.get(text);
    if (known !== undefined) return known;
    indexes.set(text, strings.length);
    return strings.push(text) - 1;
  };
  const columns = { name: [], kind: [], binary: [], file: [], line: [], reason: [] } as Record<
    "name" | "kind" | "binary" | "file" | "line" | "reason",
    number[]
  >;
  const known = new Map<string, number>();
  const take = (frames: FrameTable): Uint32Array =>
    Uint32Array.from(frames.name, (_, f) => {
      const reason = frames.reason[f] < 0 ? "" : frames.strings[frames.reason[f]];
      const key = `${formatFunction(functionOf(frames, f))}|${reason}`;
      const same = known.get(key);
      if (same !== undefined) return same;
      const text = (index: number): number => (index < 0 ? -1 : intern(frames.strings[index]));
      columns.name.push(intern(frames.strings[frames.name[f]]));
      columns.kind.push(frames.kind[f]);
      columns.binary.push(text(frames.binary[f]));
      columns.file.push(text(frames.file[f]));
      columns.line.push(frames.line[f]);
      columns.reason.push(text(frames.reason[f]));
      known.set(key, columns.name.length - 1);
      return columns.name.length - 1;
    });
  const mapA = take(a);
  const mapB = take(b);
  const frames: FrameTable = {
    strings,
    name: Uint32Array.from(columns.name),
    kind: Uint8Array.from(columns.kind),
    binary: Int32Array.from(columns.binary),
    file: Int32Array.from(columns.file),
    line: Uint32Array.from(columns.line),
    reason: Int32Array.from(columns.reason),
  };
  return { frames, mapA, mapB };
}

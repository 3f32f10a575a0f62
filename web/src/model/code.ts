/**
 * The code of one function: which lines and instructions belong together, and which to look at first. Pure.
 *
 * Lines and instructions are linked by file and line. Inlined code has lines of other files; these link to nothing here.
 */

import { formatShare } from "./units";

/** A listing as text: self, total, line or address, code; lines without samples have no shares. */
export function listing(
  rows: readonly { self: number; total: number; mark: string; text: string }[],
  total: number,
): string {
  const width = rows.reduce((most, { mark }) => Math.max(most, mark.length), 0);
  const share = (samples: number) => (samples === 0 ? "" : formatShare(samples, total)).padStart(9);
  return rows
    .map(({ self, total: all, mark, text }) =>
      `${share(self)} ${share(all)}  ${mark.padStart(width)}  ${text}`.trimEnd(),
    )
    .join("\n");
}

/** As much of an instruction as links it. */
interface Placed {
  file: string | null;
  line: number | null;
}

/** Where a list has most self; its first line with anything, else its first. -1 when it is empty. */
export function hottest(rows: readonly { self: number; total: number }[]): number {
  let best = rows.length > 0 ? 0 : -1;
  rows.forEach(({ self, total }, i) => {
    const before = rows[best];
    if (self > before.self || (self === before.self && total > before.total)) best = i;
  });
  return best;
}

/** The row with the next smaller weight than that of row `from`; round again after the last that has any. */
export function nextHottest(rows: readonly { self: number }[], from: number): number {
  const order = [...rows.keys()].filter((i) => rows[i].self > 0).sort((a, b) => rows[b].self - rows[a].self || a - b);
  return order.length === 0 ? -1 : order[(order.indexOf(from) + 1) % order.length];
}

/** The places of a line's instructions; `file` is the one that the lines are of. */
export function instructionsOf(line: number | null, file: string | null, instructions: readonly Placed[]): Set<number> {
  const found = new Set<number>();
  if (line === null) return found;
  instructions.forEach((one, i) => {
    if (one.line === line && sameFile(one.file, file)) found.add(i);
  });
  return found;
}

/** Without a file there is only one that lines can be of. */
export function sameFile(one: string | null, other: string | null): boolean {
  return one === null || other === null || one === other;
}

/**
 * The wire: what `api/v1` answers, by name.
 *
 * The shapes are generated: Rust types -> `profiler/tests/golden/api/openapi.json` -> `schema.d.ts` (`npm run types`; `npm run
 * lint` fails when it is not current). Times are milliseconds since the Unix epoch, counts are samples, tables are columns of
 * equal length. Optional indexes are -1 when absent. Nothing here is checked: `decode.ts` does that.
 */

import type { components } from "./schema";

type Schemas = components["schemas"];

/** The server writes every field, null where there is nothing; the document can only say that a field may be left out. */
type Written<T> = T extends (infer Item)[]
  ? Written<Item>[]
  : T extends object
    ? { [Name in keyof T]-?: Written<T[Name]> }
    : T;

export type Timeline = Written<Schemas["Timeline"]>;
export type Diff = Written<Schemas["Diff"]>;
export type HeatMap = Written<Schemas["HeatMap"]>;
export type FlameGraph = Written<Schemas["FlameGraph"]>;
export type Top = Written<Schemas["Top"]>;
export type Labels = Written<Schemas["Labels"]>;
export type LabelValues = Written<Schemas["LabelValues"]>;
export type Status = Written<Schemas["Status"]>;
export type Recording = Written<Schemas["Recording"]>;

/** Weights by line of the file that a function is in. */
export interface Source {
  function: string;
  file: string | null;
  /** Where the text was found; null when it was not. */
  found: string | null;
  /** Why not. */
  reason: string | null;
  total: number;
  first_line: number;
  lines: SourceLine[];
}
export interface SourceLine {
  line: number;
  /** Null without the file. */
  text: string | null;
  self: number;
  total: number;
}
/** Weights by instruction of a function. */
export interface Disassembly {
  function: string;
  binary: string | null;
  build_id: string | null;
  available: boolean;
  /** Why there are none. */
  reason: string | null;
  total: number;
  instructions: Instruction[];
}
export interface Instruction {
  address: number;
  bytes: string;
  text: string;
  file: string | null;
  line: number | null;
  self: number;
  total: number;
}
/** How well the code of each file is named. */
export interface Binaries {
  binaries: Binary[];
}
export interface Binary {
  path: string;
  build_id: string | null;
  samples_self: number;
  frames: number;
  named: number;
  inlined_frames?: number | null;
  /** Where names were looked for, and where they were found. */
  sources: { source: string; found: string | null }[];
  reason: string | null;
  /** A command. */
  remedy: string | null;
}
/** Whether naming has begun again. */
export interface Symbolize {
  started: boolean;
  unnamed: number;
}
/** Every error answer: RFC 9457. */
export type Problem = Written<Schemas["Problem"]>;

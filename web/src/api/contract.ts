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
export type Source = Written<Schemas["Source"]>;
export type SourceText = Written<Schemas["SourceText"]>;
export type Disassembly = Written<Schemas["Disassembly"]>;
export type Instruction = Written<Schemas["Instruction"]>;
export type Quality = Written<Schemas["Quality"]>;
export type Binaries = Written<Schemas["Binaries"]>;
export type Binary = Written<Schemas["Binary"]>;
export type Remedy = Written<Schemas["Remedy"]>;
export type Symbolizing = Written<Schemas["Symbolizing"]>;
/** Every error answer: RFC 9457. */
export type Problem = Written<Schemas["Problem"]>;

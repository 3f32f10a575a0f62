/**
 * The wire: what `api/v1` answers, mirrored by hand from `profiler/src/server/api.rs`.
 *
 * Both sides test the same golden files (`profiler/tests/golden/api`). Times are milliseconds since the Unix epoch, counts
 * are samples, tables are columns of equal length. Optional indexes are -1 when absent. Nothing here is checked: `decode.ts`
 * does that.
 */

/** `GET api/v1/timeline`. */
export interface Timeline {
  from_ms: number;
  to_ms: number;
  step_ms: number;
  buckets: TimelineBuckets;
}

/** Bucket `i` starts at `from_ms + i * step_ms`. */
export interface TimelineBuckets {
  samples: number[];
  /** Cores kept busy by what passes the filter; null where nothing was recorded. */
  busy_cores: (number | null)[];
  /** Share of the whole host that was not idle, 0 to 1, whatever the filter; null where nothing was recorded. */
  utilisation: (number | null)[];
  /** Samples lost, whole host. */
  lost: number[];
  incomplete: number[];
}

/** `GET api/v1/flamegraph`. */
export interface FlameGraph {
  from_ms: number;
  to_ms: number;
  samples: number;
  nanos_per_sample: number;
  incomplete: number;
  hidden_nodes: number;
  strings: string[];
  frames: FrameColumns;
  nodes: NodeColumns;
}

export interface FrameColumns {
  /** In `strings`. */
  name: number[];
  /** See `FrameKind` in `model/call-tree.ts`. */
  kind: number[];
  /** In `strings`, or -1. */
  binary: number[];
  /** In `strings`, or -1. */
  file: number[];
  /** Or 0. */
  line: number[];
  /** In `strings`, or -1. */
  reason: number[];
}

/** Depth first; node 0 is the root; siblings by falling total. */
export interface NodeColumns {
  depth: number[];
  frame: number[];
  total: number[];
  self: number[];
}

/** `GET api/v1/top`: functions by falling self. */
export interface Top {
  samples: number;
  nanos_per_sample: number;
  rows: TopRow[];
  hidden_rows: number;
}

export interface TopRow {
  name: string;
  kind: number;
  binary: string | null;
  file: string | null;
  line: number | null;
  self: number;
  total: number;
}

/** `GET api/v1/labels`. */
export interface Labels {
  labels: string[];
}

/** `GET api/v1/labels/{name}/values`, by falling samples. */
export interface LabelValues {
  label: string;
  values: LabelValue[];
}

export interface LabelValue {
  /** Empty for processes without one. */
  value: string;
  samples: number;
}

/** `GET api/v1/status`. */
export interface Status {
  version: string;
  host: string;
  /** Null when only a database is being served. */
  recording: Recording | null;
  totals: Totals;
  database: Database;
  notices: string[];
}

export interface Recording {
  event: string;
  hz: number;
  cpus: number;
  since_ms: number;
  window_ms: number;
  lag_ms: number;
  cpu_ms: number;
  rss_bytes: number;
}

/** taken = stored + lost, since the database began. */
export interface Totals {
  taken: number;
  stored: number;
  lost: Record<string, number>;
  stacks: Record<string, number>;
}

export interface Database {
  path: string;
  bytes: number;
  windows: number;
  oldest_ms: number | null;
  newest_ms: number | null;
}

/** Every error answer: RFC 9457. */
export interface Problem {
  status: number;
  code: string;
  title: string;
  detail: string;
}

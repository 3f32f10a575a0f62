/**
 * Large made-up profiles: the same seed gives the same tree. For speed checks and the mock server, never shipped.
 */

import type { FlameGraph } from "../api/contract";
import { FrameKind, KIND_COUNT } from "../model/call-tree";

/** Numbers in [0, 1) by xorshift32. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    return state / 2 ** 32;
  };
}

const PROCESSES: readonly string[] = ["postgres", "rustc", "nginx", "node", "kworker/0:1", "ssh", "python3", "sqlite3"];
const VERBS: readonly string[] = [
  "parse",
  "read",
  "write",
  "hash",
  "visit",
  "encode",
  "merge",
  "lookup",
  "drop_in_place",
  "poll",
];
const NOUNS: readonly string[] = ["row", "page", "frame", "token", "stream", "tree", "lock", "buffer", "index", "plan"];

/** A profile of exactly `nodes` nodes (or fewer when the samples run out) and `samples` samples. */
export function syntheticFlameGraph(options: {
  nodes: number;
  samples: number;
  names: number;
  seed: number;
}): FlameGraph {
  const random = randomNumbers(options.seed);
  const strings: string[] = ["all", ...PROCESSES];
  const frames: FlameGraph["frames"] = { name: [], kind: [], binary: [], file: [], line: [], reason: [] };
  const addString = (text: string): number => strings.push(text) - 1;
  const addFrame = (name: number, kind: number, binary = -1, file = -1, line = 0, reason = -1): number => {
    frames.kind.push(kind);
    frames.binary.push(binary);
    frames.file.push(file);
    frames.line.push(line);
    frames.reason.push(reason);
    return frames.name.push(name) - 1;
  };
  const root = addFrame(0, FrameKind.Root);
  const processes = PROCESSES.map((_, i) => addFrame(i + 1, FrameKind.Process));
  const binaries = ["/usr/lib/postgresql/16/bin/postgres", "/usr/lib/x86_64-linux-gnu/libc.so.6", "/usr/bin/node"].map(
    addString,
  );
  const kernel = addString("[kernel]");
  const stripped = addString("the file has no symbol table (stripped): install its debug symbols");
  const cut = addString("stack cut short: the caller keeps no frame pointer");
  const note = addFrame(cut, FrameKind.Note);
  const functions = Array.from({ length: options.names }, (_, i) => {
    const roll = random();
    const verb = VERBS[Math.floor(random() * VERBS.length)];
    const noun = NOUNS[Math.floor(random() * NOUNS.length)];
    const binary = binaries[Math.floor(random() * binaries.length)];
    if (roll < 0.2) return addFrame(addString(`__${noun}_${verb}_${i}`), FrameKind.Kernel, kernel);
    if (roll < 0.3) {
      return addFrame(addString(`[node+0x${(i * 4919).toString(16)}]`), FrameKind.Unknown, binary, -1, 0, stripped);
    }
    const file = addString(`src/${noun}/${verb}.rs`);
    const name = addString(`${noun}::${verb}_${noun}_${i}`);
    if (roll >= 0.95) return addFrame(name, FrameKind.Jit);
    return addFrame(name, roll < 0.45 ? FrameKind.Inlined : FrameKind.User, binary, file, (i % 900) + 1);
  });
  const columns: FlameGraph["nodes"] = { depth: [], frame: [], total: [], self: [] };
  let incomplete = 0;
  // `budget` nodes are to be made of `total` samples, this one included.
  const grow = (frame: number, depth: number, total: number, budget: number): void => {
    const at = columns.depth.push(depth) - 1;
    columns.frame.push(frame);
    columns.total.push(total);
    columns.self.push(0);
    const wanted = depth === 0 ? processes.length : random() < 0.55 ? 1 : 2 + Math.floor(random() * 5);
    const count = depth >= 90 ? 0 : Math.min(wanted, budget - 1, total);
    let left = total;
    if (count > 0) {
      const own = depth > 1 && random() < 0.4 ? Math.floor(total * random() * 0.15) : 0;
      const weights = Array.from({ length: count }, (_, i) => 1 / (i + 1) ** 1.1);
      const sum = weights.reduce((a, b) => a + b, 0);
      let nodesLeft = budget - 1;
      const shares = weights.map((w) => Math.max(1, Math.floor(((total - own - count) * w) / sum)));
      const picked = new Set<number>();
      shares.forEach((share, i) => {
        if (share > left) return;
        left -= share;
        const nodes = i === count - 1 ? nodesLeft : Math.max(1, Math.floor(((budget - 1) * weights[i]) / sum));
        nodesLeft -= nodes;
        let child = depth === 0 ? processes[i] : functions[Math.floor(random() ** 2 * functions.length)];
        if (depth === 1 && i === count - 1 && count > 2) child = note;
        while (picked.has(child)) child = functions[Math.floor(random() * functions.length)];
        picked.add(child);
        if (child === note) incomplete += share;
        grow(child, depth + 1, share, child === note ? 1 : Math.max(1, nodes));
      });
    }
    columns.self[at] = left;
  };
  grow(root, 0, options.samples, options.nodes);
  // Every sample is of some process.
  columns.total[0] -= columns.self[0];
  columns.self[0] = 0;
  return withKinds({
    from_ms: 0,
    to_ms: 0,
    samples: columns.total[0],
    scale: Math.round(1e9 / 97),
    counts_samples: true,
    incomplete,
    hidden_nodes: 0,
    kinds: [],
    around: null,
    recorded_ms: 3_600_000,
    own: null,
    hottest: null,
    strings,
    frames,
    nodes: columns,
  });
}

/** The answer with its samples by the kind of the frame they ended in. */
export function withKinds(answer: FlameGraph): FlameGraph {
  const { frames, nodes } = answer;
  const kinds = new Array<number>(KIND_COUNT).fill(0);
  nodes.frame.forEach((frame, i) => {
    kinds[frames.kind[frame]] += nodes.self[i];
  });
  return { ...answer, kinds };
}

/**
 * The same samples with fewer frames: hide, fold, merge. Nothing is dropped: the root's total never changes.
 *
 * - hidden frames vanish; what they called, and their own samples, belong to their caller
 * - below a folded frame nothing is shown; its callees' samples are its own
 * - recursion: a frame below itself is merged into its first occurrence
 * - the profiler's own processes stand in one frame, after all others
 */

import { type CallTree, FrameKind, type FrameTable, nodeName } from "./call-tree";
import { findPath } from "./focus-path";
import { frameMask, parseSearch } from "./search";
import { TreeBuilder } from "./tree-builder";

export interface Tidy {
  /** Searches (`model/search.ts`) for frames to hide. */
  hide: readonly string[];
  /** Searches for frames to fold what is below. */
  fold: readonly string[];
  recursion: boolean;
  /** Hide what every program has around its own code. */
  plumbing: boolean;
  /** One frame for what the profiler itself took. */
  own: boolean;
}

export const NOT_TIDIED: Tidy = { hide: [], fold: [], recursion: false, plumbing: false, own: false };
/** What a page shows that nobody has told otherwise: the code of programs, not what is around it. */
export const USUAL_TIDY: Tidy = { ...NOT_TIDIED, plumbing: true, own: true };

export function changesNothing(tidy: Tidy): boolean {
  return !hasRules(tidy) && !tidy.recursion && !tidy.plumbing && !tidy.own;
}

/** What a person chose alone: the frames as they are otherwise. */
export function withoutUsual(tidy: Tidy): Tidy {
  return { ...tidy, plumbing: false, own: false };
}

/** Whether a person hid or folded frames. */
export function hasRules(tidy: Tidy): boolean {
  return tidy.hide.length + tidy.fold.length > 0;
}

/** Stands for the profiler's own processes. Longer than a process's name can be. */
export const OWN_FRAME = "[profiler itself]";

/** Whether a node stands for the profiler's own processes. */
export function isOwn(tree: CallTree, node: number): boolean {
  return tree.depth[node] === 1 && nodeName(tree, node) === OWN_FRAME;
}

/** Entry points, dispatch and trampolines of C, Rust, C++, Go, Python, Node and the kernel's entry code. */
const PLUMBING = anyPattern([
  /^(_start|__libc_start_(main|call_main)(_impl)?|__libc_start_main@.*|start_thread|(__)?clone3?|__clone_internal|thread_start)$/,
  /^(std::rt::|std::panicking::|std::panic::|std::sys::backtrace::|std::sys_common::backtrace::|core::ops::function::)/,
  /^std::(sys::.*thread.*thread_start|thread::.*(spawn|Builder))/,
  /^<?(alloc::boxed::Box<.*>|core::panic::unwind_safe::AssertUnwindSafe<.*>) as core::ops::function::Fn/,
  /^(main::)?\{?\{?(closure|vtable\.shim)/,
  /^std::(__invoke|invoke|_Function_handler|function<|__1::__function|__1::__invoke|thread::_(State_impl|Invoker)<)/,
  // As debug information has them, without namespaces, and as the linker's names are read, with a type in front.
  /(^|[\s*&])(std::)?(__invoke(_impl|_r)?|invoke)</,
  /^(_M_(run|invoke)(?!\w)|execute_native_thread_routine)/,
  /^(tokio|rayon_core|futures_util)::(runtime|task|registry|job|latch|unwind|future)::/,
  /^runtime\.(goexit|main|mcall|systemstack|rt0_go|mstart\w*)/,
  /^(_PyEval_|PyEval_|_PyFunction_Vectorcall|PyObject_Vectorcall|_PyObject_|Py_RunMain|Py_BytesMain|pymain_|PyRun_|run_mod|run_eval)/,
  /^(Builtins_(JSEntry|JSEntryTrampoline|InterpreterEntryTrampoline|AsyncFunction|PromiseConstructor|RunMicrotasks)|v8::internal::(\(anonymous namespace\)::)?Invoke)/,
  /^(entry_SYSCALL|entry_SYSENTER|do_syscall_|x64_sys_call|asm_|ret_from_fork|kthread$|worker_thread$|el0t?_|invoke_syscall)/,
]);

/** What does as much of the work itself is no plumbing: an interpreter's loop, say. */
const PLUMBING_SELF = 50;

/** As one: tens of thousands of names are looked at before a graph is drawn. */
function anyPattern(patterns: readonly RegExp[]): RegExp {
  return new RegExp(patterns.map(({ source }) => source).join("|"));
}

/** Nodes with one of these frames that are not shown because frames are hidden, or collapsed, by themselves (see `USUAL_TIDY`). */
export function hiddenNodes(tree: CallTree, tidy: Tidy, own: readonly string[], frames: Uint8Array): number {
  const plumbing = tidy.plumbing ? plumbingFrames(tree) : null;
  const together = tidy.own ? ownFrames(tree.frames, own) : null;
  let hidden = 0;
  for (let i = 1, ownUntil = 0; i < tree.size; i++) {
    const frame = tree.frame[i];
    if (tree.depth[i] === 1 && together?.mask[frame] === 1) ownUntil = tree.end[i];
    if (frames[frame] === 1 && (i < ownUntil || plumbing?.[frame] === 1)) hidden++;
  }
  return hidden;
}

/** The tree with fewer frames; the same tree when nothing is to be done. `own`: names of the profiler's own processes. */
export function tidyTree(tree: CallTree, tidy: Tidy, own: readonly string[] = []): CallTree {
  return changesNothing(tidy) ? tree : tidied(tree, tidy, own, () => {}).finish();
}

/** The largest of the nodes that the tidied tree shows as the one of this path (`focus-path.ts`); -1 when it has none. */
export function nodeBehind(tree: CallTree, tidy: Tidy, path: string, own: readonly string[] = []): number {
  const placeOf = new Int32Array(tree.size).fill(-1);
  const builder = tidied(tree, tidy, own, (node, place) => {
    placeOf[node] = place;
  });
  const { tree: shown, from } = builder.ordered();
  const at = findPath(shown, path);
  let largest = -1;
  for (let i = 0; at >= 0 && i < tree.size; i++) {
    if (placeOf[i] === from[at] && (largest < 0 || tree.total[i] > tree.total[largest])) largest = i;
  }
  return largest;
}

/** Tells where each node that is shown went. */
function tidied(
  tree: CallTree,
  tidy: Tidy,
  own: readonly string[],
  went: (node: number, place: number) => void,
): TreeBuilder {
  const hidden = anyOf(tree.frames, tidy.hide);
  const plumbing = tidy.plumbing ? plumbingFrames(tree) : null;
  const folded = anyOf(tree.frames, tidy.fold);
  hidden[tree.frame[0]] = 0;
  folded[tree.frame[0]] = 0;
  const together = tidy.own ? ownFrames(tree.frames, own) : null;
  const ownFrame = tree.frames.name.length;
  const builder = new TreeBuilder(together?.frames ?? tree.frames, tree.frame[0], ownFrame);
  // Where the node last seen at each depth went.
  const places: number[] = [];
  for (let i = 0; i < tree.size; ) {
    const frame = tree.frame[i];
    const depth = tree.depth[i];
    if (depth === 1 && together?.mask[frame] === 1) {
      const place = builder.child(0, ownFrame);
      went(i, place);
      builder.add(place, tree.total[i]);
      i = tree.end[i];
      continue;
    }
    let place = depth === 0 ? 0 : places[depth - 1];
    const hides = hidden[frame] === 1 || plumbing?.[frame] === 1;
    if (depth > 0 && !hides) {
      const before = tidy.recursion ? occurrence(builder, place, frame) : -1;
      place = before >= 0 ? before : builder.child(place, frame);
      went(i, place);
    }
    places[depth] = place;
    if (folded[frame] === 1 && !hides) {
      builder.add(place, tree.total[i]);
      i = tree.end[i];
    } else {
      builder.add(place, tree.self[i]);
      i++;
    }
  }
  return builder;
}

function occurrence(builder: TreeBuilder, place: number, frame: number): number {
  for (let at = place; at > 0; at = builder.parentOf(at)) if (builder.frameOf(at) === frame) return at;
  return -1;
}

/** 1 for each process of these names, and the frames with one more that stands for all of them; null without any. */
function ownFrames(frames: FrameTable, own: readonly string[]): { frames: FrameTable; mask: Uint8Array } | null {
  const mask = new Uint8Array(frames.name.length);
  for (let f = 0; f < mask.length; f++) {
    if (frames.kind[f] === FrameKind.Process && own.includes(frames.strings[frames.name[f]])) mask[f] = 1;
  }
  if (!mask.includes(1)) return null;
  const longer = <T extends Uint8Array | Uint32Array | Int32Array>(column: T, last: number): T => {
    const wider = new (column.constructor as new (length: number) => T)(column.length + 1);
    wider.set(column);
    wider[column.length] = last;
    return wider;
  };
  const table = {
    strings: [...frames.strings, OWN_FRAME],
    name: longer(frames.name, frames.strings.length),
    kind: longer(frames.kind, FrameKind.Process),
    binary: longer(frames.binary, -1),
    file: longer(frames.file, -1),
    line: longer(frames.line, 0),
    reason: longer(frames.reason, -1),
  };
  return { frames: table, mask };
}

const plumbingOf = new WeakMap<CallTree, Uint8Array>();

/** 1 for each frame that every program has around its own code, unless it spends a 50th of its samples, or more, itself. */
function plumbingFrames(tree: CallTree): Uint8Array {
  const known = plumbingOf.get(tree);
  if (known !== undefined) return known;
  const { frames, frame, self, total, end, size } = tree;
  const mask = new Uint8Array(frames.name.length);
  plumbingOf.set(tree, mask);
  for (let f = 0; f < mask.length; f++) {
    const code = frames.kind[f] !== FrameKind.Process && frames.kind[f] !== FrameKind.Note;
    if (code && PLUMBING.test(frames.strings[frames.name[f]])) mask[f] = 1;
  }
  const own = new Float64Array(mask.length);
  const all = new Float64Array(mask.length);
  // Up to which node the outermost of a frame goes: recursion counts once.
  const until = new Uint32Array(mask.length);
  for (let i = 0; i < size; i++) {
    const f = frame[i];
    if (mask[f] === 0) continue;
    own[f] += self[i];
    if (i < until[f]) continue;
    all[f] += total[i];
    until[f] = end[i];
  }
  for (let f = 0; f < mask.length; f++) if (own[f] * PLUMBING_SELF >= all[f]) mask[f] = 0;
  return mask;
}

function anyOf(frames: FrameTable, searches: readonly string[]): Uint8Array {
  const mask = new Uint8Array(frames.name.length);
  for (const search of searches) {
    const found = frameMask(frames, parseSearch(search));
    for (let f = 0; f < mask.length; f++) mask[f] |= found[f];
  }
  return mask;
}

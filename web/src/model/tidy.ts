/**
 * The same samples with fewer frames: hide, fold, merge. Nothing is dropped: the root's total never changes.
 *
 * - hidden frames vanish; what they called, and their own samples, belong to their caller
 * - below a folded frame nothing is shown; its callees' samples are its own
 * - recursion: a frame below itself is merged into its first occurrence
 */

import { type CallTree, FrameKind, type FrameTable } from "./call-tree";
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
}

export const NOT_TIDIED: Tidy = { hide: [], fold: [], recursion: false, plumbing: false };

export function changesNothing(tidy: Tidy): boolean {
  return tidy.hide.length + tidy.fold.length === 0 && !tidy.recursion && !tidy.plumbing;
}

/** Entry points, dispatch and trampolines of C, Rust, C++, Go, Python, Node and the kernel's entry code. */
const PLUMBING: readonly RegExp[] = [
  /^(_start|__libc_start_(main|call_main)(_impl)?|__libc_start_main@.*|start_thread|(__)?clone3?|__clone_internal|thread_start)$/,
  /^(std::rt::|std::panicking::|std::panic::|std::sys::backtrace::|std::sys_common::backtrace::|core::ops::function::)/,
  /^std::(sys::.*thread.*thread_start|thread::.*(spawn|Builder))/,
  /^<?(alloc::boxed::Box<.*>|core::panic::unwind_safe::AssertUnwindSafe<.*>) as core::ops::function::Fn/,
  /^(main::)?\{?\{?(closure|vtable\.shim)/,
  /^std::(__invoke|invoke|_Function_handler|function<|__1::__function|__1::__invoke)/,
  /^(tokio|rayon_core|futures_util)::(runtime|task|registry|job|latch|unwind|future)::/,
  /^runtime\.(goexit|main|mcall|systemstack|rt0_go|mstart\w*)/,
  /^(_PyEval_|PyEval_|_PyFunction_Vectorcall|PyObject_Vectorcall|_PyObject_|Py_RunMain|Py_BytesMain|pymain_|PyRun_|run_mod|run_eval)/,
  /^(Builtins_(JSEntry|JSEntryTrampoline|InterpreterEntryTrampoline|AsyncFunction|PromiseConstructor|RunMicrotasks)|v8::internal::(\(anonymous namespace\)::)?Invoke)/,
  /^(entry_SYSCALL|entry_SYSENTER|do_syscall_|x64_sys_call|asm_|ret_from_fork|kthread$|worker_thread$|el0t?_|invoke_syscall)/,
];

/** The tree with fewer frames; the same tree when nothing is to be done. */
export function tidyTree(tree: CallTree, tidy: Tidy): CallTree {
  return changesNothing(tidy) ? tree : tidied(tree, tidy, () => {}).finish();
}

/** The largest of the nodes that the tidied tree shows as the one of this path (`focus-path.ts`); -1 when it has none. */
export function nodeBehind(tree: CallTree, tidy: Tidy, path: string): number {
  const placeOf = new Int32Array(tree.size).fill(-1);
  const builder = tidied(tree, tidy, (node, place) => {
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
function tidied(tree: CallTree, tidy: Tidy, went: (node: number, place: number) => void): TreeBuilder {
  const hidden = hiddenFrames(tree.frames, tidy);
  const folded = anyOf(tree.frames, tidy.fold);
  hidden[tree.frame[0]] = 0;
  folded[tree.frame[0]] = 0;
  const builder = new TreeBuilder(tree.frames, tree.frame[0]);
  // Where the node last seen at each depth went.
  const places: number[] = [];
  for (let i = 0; i < tree.size; ) {
    const frame = tree.frame[i];
    const depth = tree.depth[i];
    let place = depth === 0 ? 0 : places[depth - 1];
    if (depth > 0 && hidden[frame] === 0) {
      const before = tidy.recursion ? occurrence(builder, place, frame) : -1;
      place = before >= 0 ? before : builder.child(place, frame);
      went(i, place);
    }
    places[depth] = place;
    if (folded[frame] === 1 && hidden[frame] === 0) {
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

function hiddenFrames(frames: FrameTable, tidy: Tidy): Uint8Array {
  const mask = anyOf(frames, tidy.hide);
  if (!tidy.plumbing) return mask;
  for (let f = 0; f < mask.length; f++) {
    const code = frames.kind[f] !== FrameKind.Process && frames.kind[f] !== FrameKind.Note;
    if (code && PLUMBING.some((pattern) => pattern.test(frames.strings[frames.name[f]]))) mask[f] = 1;
  }
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

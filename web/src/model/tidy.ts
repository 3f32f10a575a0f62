/**
 * The same samples with fewer frames: hide, fold, merge. Nothing is dropped: the root's total never changes.
 *
 * - hidden frames vanish; what they called, and their own samples, belong to their caller
 * - below a folded frame nothing is shown; its callees' samples are its own
 * - recursion: a frame below itself is merged into its first occurrence
 * - generics: names lose their type arguments, and what is then equal is merged
 */

import { type CallTree, FrameKind, type FrameTable } from "./call-tree";
import { frameMask, parseSearch } from "./search";
import { TreeBuilder } from "./tree-builder";

export interface Tidy {
  /** Searches (`model/search.ts`) for frames to hide. */
  hide: readonly string[];
  /** Searches for frames to fold what is below. */
  fold: readonly string[];
  recursion: boolean;
  generics: boolean;
  /** Hide what every program has around its own code. */
  plumbing: boolean;
}

export const NOT_TIDIED: Tidy = { hide: [], fold: [], recursion: false, generics: false, plumbing: false };

export function changesNothing(tidy: Tidy): boolean {
  return tidy.hide.length + tidy.fold.length === 0 && !tidy.recursion && !tidy.generics && !tidy.plumbing;
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
  if (changesNothing(tidy)) return tree;
  const { frames, map } = tidy.generics ? withoutGenerics(tree.frames) : { frames: tree.frames, map: null };
  const hidden = hiddenFrames(tree.frames, tidy);
  const folded = anyOf(tree.frames, tidy.fold);
  hidden[tree.frame[0]] = 0;
  folded[tree.frame[0]] = 0;
  const builder = new TreeBuilder(frames, tree.frame[0]);
  // Where the node last seen at each depth went.
  const places: number[] = [];
  for (let i = 0; i < tree.size; ) {
    const frame = tree.frame[i];
    const depth = tree.depth[i];
    let place = depth === 0 ? 0 : places[depth - 1];
    if (depth > 0 && hidden[frame] === 0) {
      const shown = map === null ? frame : map[frame];
      const before = tidy.recursion ? occurrence(builder, place, shown) : -1;
      place = before >= 0 ? before : builder.child(place, shown);
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
  return builder.finish();
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

/** The frames with plain names, equal ones once; `map` leads from the old ones to them. */
function withoutGenerics(frames: FrameTable): { frames: FrameTable; map: Uint32Array } {
  const count = frames.name.length;
  const strings = [...frames.strings];
  const indexes = new Map(strings.map((text, i) => [text, i]));
  const name = frames.name.slice();
  const map = new Uint32Array(count);
  const known = new Map<string, number>();
  for (let f = 0; f < count; f++) {
    const plain = plainName(frames.strings[frames.name[f]]);
    let index = indexes.get(plain);
    if (index === undefined) {
      index = strings.push(plain) - 1;
      indexes.set(plain, index);
    }
    name[f] = index;
    const key = `${index} ${frames.kind[f]} ${frames.binary[f]} ${frames.file[f]} ${frames.reason[f]}`;
    const first = known.get(key);
    if (first === undefined) known.set(key, f);
    map[f] = first ?? f;
  }
  return { frames: { ...frames, strings, name }, map };
}

/**
 * A name without type arguments: `Vec<T>::push` becomes `Vec::push`, `<Vec<T> as Extend<T>>::extend` becomes `<Vec as
 * Extend>::extend`. Operators that are written with these signs stay, and so does what has no partner.
 */
export function plainName(name: string): string {
  if (!name.includes("<")) return name;
  let plain = "";
  let depth = 0;
  const skipped: number[] = [];
  for (let i = 0; i < name.length; i++) {
    const operator = /^operator[-<>=!]+/.exec(name.slice(i, i + 12));
    if (operator !== null && depth === 0) {
      plain += operator[0];
      i += operator[0].length - 1;
      continue;
    }
    const c = name[i];
    if (c === "<") {
      // A qualified name may begin with one: that is no argument list.
      const opens = plain === "" && skipped.length === 0;
      skipped.push(opens ? 0 : 1);
      if (!opens) depth++;
      else plain += c;
    } else if (c === ">" && name[i - 1] !== "-" && skipped.length > 0) {
      if (skipped.pop() === 1) depth--;
      else plain += c;
    } else if (depth === 0) {
      plain += c;
    }
  }
  return depth === 0 ? plain.replaceAll("::::", "::").replace(/::$/, "") : name;
}

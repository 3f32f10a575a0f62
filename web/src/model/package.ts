/** Which package a function belongs to, guessed from its name; colours and searches go by it. Pure. */

import { FrameKind } from "./call-tree";
import { baseName } from "./units";

/** A crate or namespace, a Go import path, a Java package; the kernel; else the binary's file name. */
export function packageOf(of: { name: string; kind: number; binary: string | null }): string {
  if (of.kind === FrameKind.Kernel) return "kernel";
  const { name } = of;
  // `<alloc::vec::Vec<T> as core::ops::Drop>::drop` is alloc's.
  const path = /^[<&({* ]*(?:dyn |mut |const )*([A-Za-z_]\w*)(?:\[[0-9a-f]+\])?::/.exec(name);
  if (path !== null) return path[1];
  const go = /^((?:[\w.~-]+\/)*[\w~-]+)\.(?:[A-Z_a-z(]\S*)$/.exec(name);
  if (go !== null && !name.startsWith("[") && !/\.(part|isra|constprop|cold|lto_priv)\b/.test(name)) return go[1];
  return of.binary === null ? "other" : baseName(of.binary);
}

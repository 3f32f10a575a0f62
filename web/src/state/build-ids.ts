/**
 * The build ids of the files in view, for the details of a frame. Frames are of functions, which several builds of a file may
 * have: what is known stands with the file. Asked for once a range, when a person first points at a frame of a file.
 */

import { computed } from "@preact/signals";
import { fetchBinaries } from "../api/client";
import type { Binaries } from "../api/contract";
import { Question } from "./question";
import { scope } from "./store";

// Not one of the page's questions: without an answer nothing is missing but this.
const asked = new Question<Binaries>();
let tried = "";

export function askForBuildIds(): void {
  const about = scope.peek();
  const key = JSON.stringify(about);
  if (key === tried) return;
  tried = key;
  void asked.ask(key, (signal) => fetchBinaries(about, signal));
}

/** By path. */
export const buildIds = computed<ReadonlyMap<string, readonly string[]>>(() => {
  const found = new Map<string, string[]>();
  for (const { path, build_id } of asked.state.value.answer?.binaries ?? []) {
    if (build_id === null) continue;
    const ids = found.get(path);
    if (ids === undefined) found.set(path, [build_id]);
    else if (!ids.includes(build_id)) ids.push(build_id);
  }
  return found;
});

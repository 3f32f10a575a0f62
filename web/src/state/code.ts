/** The function whose source and assembly are shown, as the server knows it, and the line looked at. */

import { computed } from "@preact/signals";
import { hottest, instructionsOf } from "../model/code";
import { type FunctionId, functionOf, isCode } from "../model/function";
import { plainName } from "../model/tidy";
import { chosenFunction } from "./flame";
import { flame, questions, view } from "./store";

/** Names that were tidied are given back their type arguments: of the one with the most samples. */
export const codeFunction = computed<FunctionId | null>(() => {
  const chosen = chosenFunction.value;
  const whole = flame.value?.tree ?? null;
  if (chosen === null || !isCode(chosen.kind)) return null;
  if (!view.value.tidy.generics || whole === null) return chosen;
  const { frames } = whole;
  const weight = new Map<number, number>();
  for (let i = 0; i < whole.size; i++) {
    const frame = whole.frame[i];
    if (frames.kind[frame] === chosen.kind && plainName(frames.strings[frames.name[frame]]) === chosen.name) {
      weight.set(frame, (weight.get(frame) ?? 0) + whole.total[i]);
    }
  }
  const heaviest = [...weight].sort((a, b) => b[1] - a[1])[0];
  return heaviest === undefined ? chosen : functionOf(frames, heaviest[0]);
});

export const source = computed(() => questions.source.state.value);
export const assembly = computed(() => questions.disassembly.state.value);

/** The line looked at: the chosen one, else the one with the most samples. */
export const codeLine = computed<number | null>(() => {
  const lines = source.value.answer?.lines ?? [];
  return view.value.line ?? lines[hottest(lines)]?.line ?? null;
});

/** Its instructions, by their place in the list. */
export const lineInstructions = computed(() =>
  instructionsOf(codeLine.value, source.value.answer?.file ?? null, assembly.value.answer?.instructions ?? []),
);

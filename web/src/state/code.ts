/** The function whose source and assembly are shown, as the server knows it, and the line looked at. */

import { computed } from "@preact/signals";
import { hottest, instructionsOf } from "../model/code";
import { type FunctionId, isCode } from "../model/function";
import { chosenFunction, questions, shown } from "./store";

/** Null when nothing is chosen that has code. */
export const codeFunction = computed<FunctionId | null>(() => {
  const chosen = chosenFunction.value;
  return chosen === null || !isCode(chosen.kind) ? null : chosen;
});

export const source = computed(() => questions.source.state.value);
export const assembly = computed(() => questions.disassembly.state.value);

/** The line looked at: the chosen one, else the one with the most samples. */
export const codeLine = computed<number | null>(() => {
  const lines = source.value.answer?.lines ?? [];
  return shown.line.value ?? lines[hottest(lines)]?.line ?? null;
});

/** Its instructions, by their place in the list. */
export const lineInstructions = computed(() =>
  instructionsOf(codeLine.value, source.value.answer?.file ?? null, assembly.value.answer?.instructions ?? []),
);

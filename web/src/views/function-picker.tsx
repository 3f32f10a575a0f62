/** Chooses a function by typing a part of its name; offers the ones with the most samples first. */

import { useComputed, useSignal } from "@preact/signals";
import { type FunctionId, formatFunction, functionOf, isCode } from "../model/function";
import { tree } from "../state/flame";
import { navigate } from "../state/store";

const OFFERED = 30;

export function FunctionPicker() {
  const typed = useSignal("");
  const offered = useComputed<FunctionId[]>(() => {
    const at = tree.value;
    const text = typed.value.toLowerCase();
    if (at === null || text.length < 2) return [];
    const self = new Float64Array(at.frames.name.length);
    for (let i = 0; i < at.size; i++) self[at.frame[i]] += at.total[i];
    return [...self.keys()]
      .filter((f) => isCode(at.frames.kind[f]) && at.frames.strings[at.frames.name[f]].toLowerCase().includes(text))
      .sort((a, b) => self[b] - self[a])
      .slice(0, OFFERED)
      .map((f) => functionOf(at.frames, f));
  });
  const take = (text: string): void => {
    const match =
      offered.peek().find((one) => one.name === text) ?? (offered.peek().length === 1 ? offered.peek()[0] : null);
    if (match === null || match === undefined) return;
    typed.value = "";
    navigate({ fn: formatFunction(match) });
  };
  return (
    <form
      class="function-picker"
      onSubmit={(event) => {
        event.preventDefault();
        const first = offered.peek()[0];
        if (first !== undefined) take(first.name);
      }}
    >
      <input
        type="text"
        class="text"
        list="functions"
        aria-label="Choose a function"
        placeholder="Another function …"
        value={typed.value}
        onInput={(event) => {
          typed.value = event.currentTarget.value;
          // An offer was taken; letters that happen to make a whole name are only letters.
          const typing = event instanceof InputEvent && event.inputType !== "insertReplacementText";
          if (!typing) take(typed.peek());
        }}
      />
      <datalist id="functions">
        {offered.value.map((one) => (
          <option key={formatFunction(one)} value={one.name} />
        ))}
      </datalist>
    </form>
  );
}

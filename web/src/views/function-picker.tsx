/** Chooses a function by typing a part of its name; offers the ones with the most samples first. */

import { useComputed, useSignal } from "@preact/signals";
import { type FunctionId, formatFunction, functionOf, functionRows, isCode } from "../model/function";
import { baseName, formatShare } from "../model/units";
import { tree } from "../state/flame";
import { navigate } from "../state/store";

const OFFERED = 30;

/** As many of the heaviest as are offered before a person types. */
const HEAVIEST = 8;

/** Where no function is chosen yet: the picker, and the ones that most would choose. */
export function FunctionChoice() {
  const rows = useComputed(() => (tree.value === null ? [] : functionRows(tree.value).slice(0, HEAVIEST)));
  const all = tree.value?.total[0] ?? 0;
  return (
    <>
      <FunctionPicker hint="Name of a function …" />
      <ul class="heaviest" aria-label="Functions with the most self time">
        {rows.value.map((row) => (
          <li class="neighbour" key={formatFunction(row)}>
            <span class="bar" style={{ width: `${(row.self / Math.max(all, 1)) * 100}%` }} />
            <span class="share">{formatShare(row.self, all)}</span>
            <button type="button" class="link" title={row.name} onClick={() => navigate({ fn: formatFunction(row) })}>
              {row.name}
            </button>
            <span class="quiet">{row.binary === null ? "" : baseName(row.binary)}</span>
          </li>
        ))}
      </ul>
    </>
  );
}

export function FunctionPicker({ hint = "Another function …" }: { hint?: string }) {
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
        placeholder={hint}
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

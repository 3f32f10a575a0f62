/** The processes of the range, by share; a click pins the filter to one, another click lets go. */

import { useSignal } from "@preact/signals";
import { pinnedValue, toggleValue } from "../model/selector";
import { formatCount, formatShare } from "../model/units";
import { navigate, questions, view } from "../state/store";
import { CloseIcon } from "./icons";

const FIRST = 40;

export function ProcessFacet() {
  const all = useSignal(false);
  const { answer } = questions.processes.state.value;
  const values = answer?.values ?? [];
  const sum = values.reduce((total, v) => total + v.samples, 0);
  const pinned = pinnedValue(view.value.filter, "comm");
  const shown = all.value ? values : values.slice(0, FIRST);
  return (
    <nav class="facet" aria-label="Processes">
      <h2>
        Processes <span class="quiet">{values.length > 0 && formatCount(values.length)}</span>
      </h2>
      {answer !== null && values.length === 0 && <p class="quiet">None in this range.</p>}
      <ul>
        {shown.map(({ value, samples }) => (
          <li key={value}>
            <button
              type="button"
              class="facet-row"
              aria-pressed={pinned === value}
              title={`${value || "(no name)"}: ${formatCount(samples)} samples`}
              onClick={() => navigate({ filter: toggleValue(view.peek().filter, "comm", value), zoom: null })}
            >
              <span class="bar" style={{ width: `${sum > 0 ? (samples / sum) * 100 : 0}%` }} />
              <span class="name">{value || "(no name)"}</span>
              <span class="share">{formatShare(samples, sum)}</span>
              {pinned === value && <CloseIcon />}
            </button>
          </li>
        ))}
      </ul>
      {values.length > FIRST && (
        <button
          type="button"
          class="link"
          onClick={() => {
            all.value = !all.value;
          }}
        >
          {all.value ? `Show the first ${FIRST}` : `Show ${formatCount(values.length - FIRST)} more`}
        </button>
      )}
    </nav>
  );
}

/** One function between its callers, above, and its callees, below, with its own numbers in the middle. */

import { baseName, formatAmount, formatNanos, formatSamples, formatShare } from "../model/units";
import { ROW_HEIGHT } from "../render/flame-canvas";
import { all, answer, calleesPane, callersPane, cut, missing } from "../state/sandwich";
import { chosenFunction, navigate } from "../state/store";
import { FlamePane } from "./flame-pane";
import { FunctionChoice, FunctionPicker } from "./function-picker";

/** What is said when there is nothing of the function, and why. */
const MISSING = {
  looking: ["was too small to send at first", "It is asked for now."],
  small: ["may have been too small to send", "The graph has the heaviest frames, and this one could not be had."],
  none: ["is not in this range", "It took no processor time here, the filter leaves it out, or it is hidden."],
} as const;

export function Sandwich() {
  const chosen = chosenFunction.value;
  const filling = cut.value;
  const from = answer.value;
  if (chosen === null || from === null) {
    return (
      <div class="empty">
        <h2>Callers and callees of one function</h2>
        <p>
          Choose a function: here, with <kbd>f</kbd> on a frame of the graph, or in the table. All places where it was
          called are taken together.
        </p>
        <FunctionChoice />
      </div>
    );
  }
  if (filling === null) {
    const [title, why] = MISSING[missing.value];
    return (
      <div class="empty" role="status">
        <h2>
          {chosen.name} {title}
        </h2>
        <p>{why}</p>
        <FunctionPicker />
      </div>
    );
  }
  return (
    <div class="sandwich">
      <p class="sandwich-head quiet">
        Callers: who called it, and who called them, upwards
        {missing.value !== "none" && " (frames too small to send are left out on both sides)"}
      </p>
      <div class="half" style={{ height: `${(filling.callers.maxDepth + 1) * ROW_HEIGHT}px` }}>
        <FlamePane pane={callersPane} />
      </div>
      <div class="filling">
        <strong class="name">{chosen.name}</strong>
        <span>
          total <b>{formatShare(filling.total, all.value)}</b>{" "}
          <span class="quiet">
            {formatNanos(filling.total * from.measure.scale)}
            {from.measure.counts_samples && `, ${formatSamples(filling.total)}`}
          </span>
          , self <b>{formatShare(filling.self, all.value)}</b>{" "}
          <span class="quiet">{formatAmount(filling.self, from.measure)}</span>
        </span>
        {chosen.binary !== null && <span class="quiet">{baseName(chosen.binary)}</span>}
        <span class="gap" />
        <FunctionPicker />
        <button
          type="button"
          class="button small"
          onClick={() => navigate({ search: `"${chosen.name}"`, tab: "flame" })}
        >
          In the flame graph
        </button>
      </div>
      <div class="half" style={{ height: `${(filling.callees.maxDepth + 1) * ROW_HEIGHT}px` }}>
        <FlamePane pane={calleesPane} />
      </div>
      <p class="sandwich-head quiet">
        Callees: what it called, downwards. A click makes that function the one in the middle.
      </p>
    </div>
  );
}

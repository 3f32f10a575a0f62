/** One function between its callers, above, and its callees, below, with its own numbers in the middle. */

import { baseName, formatCount, formatNanos, formatShare } from "../model/units";
import { ROW_HEIGHT } from "../render/flame-canvas";
import { tree } from "../state/flame";
import { calleesPane, callersPane, cut } from "../state/sandwich";
import { chosenFunction, flame, navigate } from "../state/store";
import { FlamePane } from "./flame-pane";
import { FunctionChoice, FunctionPicker } from "./function-picker";

export function Sandwich() {
  const chosen = chosenFunction.value;
  const filling = cut.value;
  const answer = flame.value;
  if (chosen === null || answer === null || tree.value === null) {
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
    return (
      <div class="empty" role="status">
        <h2>{chosen.name} is not in this range</h2>
        <p>It took no processor time here, the filter leaves it out, or it is hidden.</p>
        <FunctionPicker />
      </div>
    );
  }
  const all = tree.value.total[0];
  return (
    <div class="sandwich">
      <p class="sandwich-head quiet">
        Callers: who called it, and who called them, upwards
        {answer.hiddenNodes > 0 && " (frames too small to send are left out on both sides)"}
      </p>
      <div class="half" style={{ height: `${(filling.callers.maxDepth + 1) * ROW_HEIGHT}px` }}>
        <FlamePane pane={callersPane} />
      </div>
      <div class="filling">
        <strong class="name">{chosen.name}</strong>
        <span>
          total <b>{formatShare(filling.total, all)}</b>{" "}
          <span class="quiet">
            {formatNanos(filling.total * answer.nanosPerSample)}, {formatCount(filling.total)} samples
          </span>
          , self <b>{formatShare(filling.self, all)}</b> <span class="quiet">{formatCount(filling.self)} samples</span>
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

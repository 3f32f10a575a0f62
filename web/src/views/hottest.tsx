/** One sentence above the graph: what is hot, and what to click next; and what the profiler itself took. Figures are the server's. */

import { formatFunction } from "../model/function";
import { chosenValues, toggleValue } from "../model/selector";
import { baseName, formatCores, formatShare } from "../model/units";
import { type FlameAnswer, flame, navigate, questions, shown, view } from "../state/store";

export function HottestLine() {
  const answer = flame.value;
  if (answer === null || answer.samples === 0) return null;
  return (
    <p class={questions.flame.state.value.stale ? "hottest stale" : "hottest"} data-testid="hottest">
      <Sentence answer={answer} />
      <OwnWork answer={answer} />
    </p>
  );
}

function Sentence({ answer }: { answer: FlameAnswer }) {
  const { hottest, samples, measure, recordedMs } = answer;
  if (hottest === null) return <span />;
  const { process, total, function: fn } = hottest;
  const cores = (total * measure.scale) / Math.max(recordedMs * 1e6, 1);
  const alone = chosenValues(shown.filter.value, "comm").included.length > 0;
  return (
    <span>
      {alone ? (
        <b>{process}</b>
      ) : (
        <button
          type="button"
          class="link"
          title={`Only ${process}`}
          onClick={() => navigate({ filter: toggleValue(view.peek().filter, "comm", process), zoom: null })}
        >
          {process}
        </button>
      )}{" "}
      kept <b>{formatCores(cores)}</b> cores busy ({formatShare(total, samples)} of the samples)
      {fn !== null && (
        <>
          , most in{" "}
          <button
            type="button"
            class="link name"
            title={`Who calls ${fn.name}${fn.binary === null ? "" : ` in ${baseName(fn.binary)}`}`}
            onClick={() => navigate({ tab: "sandwich", fn: formatFunction(fn) })}
          >
            {fn.name}
          </button>{" "}
          <span class="quiet">({formatShare(fn.self, total)} of that): see who calls it</span>
        </>
      )}
    </span>
  );
}

/** What the profiler took, and the switch that leaves it out of every view. */
function OwnWork({ answer: { own, samples } }: { answer: FlameAnswer }) {
  if (own === null) return null;
  const out = chosenValues(shown.filter.value, "exe").excluded.includes(own.exe);
  if (own.total === 0 && !out) return null;
  return (
    <span class="own quiet">
      {out ? "The profiler itself is left out" : `The profiler itself: ${formatShare(own.total, samples)}`}{" "}
      <button
        type="button"
        class="link"
        role="switch"
        aria-checked={!out}
        aria-label="The profiler's own work"
        title={own.exe}
        onClick={() => navigate({ filter: toggleValue(view.peek().filter, "exe", own.exe, "excluded"), zoom: null })}
      >
        {out ? "Show it" : "Leave it out"}
      </button>
    </span>
  );
}

/** How far the numbers can be trusted, and what keeps them: samples, complete stacks, losses, database, version. */

import { formatAmount, formatBytes, formatCount, formatMoment, formatNanos, formatShare } from "../model/units";
import { flame, navigate, questions, shown, status, timeline } from "../state/store";

export function QualityStrip() {
  const answer = flame.value;
  const now = status.value;
  return (
    <footer class={questions.flame.state.value.stale ? "quality stale" : "quality"}>
      {answer !== null && (
        <>
          <span>
            {answer.measure.counts_samples ? (
              <>
                <b>{formatCount(answer.samples)}</b> {answer.samples === 1 ? "sample" : "samples"} in view{" "}
                <span class="quiet">({formatNanos(answer.samples * answer.measure.scale)} CPU)</span>
              </>
            ) : (
              <span title="Samples of several rates are in view: each counts as the time that it stands for">
                <b>{formatNanos(answer.samples * answer.measure.scale)}</b> CPU in view{" "}
                <span class="quiet">(several rates)</span>
              </span>
            )}
          </span>
          {answer.samples > 0 && (
            <span title={`${formatAmount(answer.incomplete, answer.measure)}: the user stack is cut short`}>
              <b>{formatShare(answer.samples - answer.incomplete, answer.samples)}</b> of stacks complete
            </span>
          )}
          {answer.hiddenNodes > 0 && (
            <span title="Too small to send; their samples are counted in frames named remainder">
              {formatCount(answer.hiddenNodes)} small frames collapsed
            </span>
          )}
        </>
      )}
      <Lost />
      <span class="gap" />
      {now !== null && (
        <>
          <span title={now.database.path}>
            Database <b>{formatBytes(now.database.bytes)}</b>
            {now.database.oldest_ms !== null && (
              <span class="quiet"> since {formatMoment(now.database.oldest_ms).slice(0, 16)}</span>
            )}
          </span>
          <span class="quiet">profiler {now.version}</span>
        </>
      )}
    </footer>
  );
}

/** Losses in the range; the causes are on the quality tab. */
function Lost() {
  const answer = timeline.value;
  if (answer === null) return null;
  const brush = shown.brush.value;
  const { from_ms, step_ms, buckets } = answer;
  const lost = buckets.lost.reduce((sum, n, i) => {
    const at = from_ms + i * step_ms;
    return brush === null || (at >= brush.from && at < brush.to) ? sum + n : sum;
  }, 0);
  return (
    <button
      type="button"
      class={lost > 0 ? "link bad" : "link quiet"}
      title="Causes and remedies"
      onClick={() => navigate({ tab: "quality" })}
    >
      {lost > 0 ? (
        <>
          <b>{formatCount(lost)}</b> samples lost
        </>
      ) : (
        "no samples lost"
      )}
    </button>
  );
}

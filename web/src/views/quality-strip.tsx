/** How far the numbers can be trusted, and what keeps them: samples, complete stacks, losses, database, version. */

import { formatBytes, formatCount, formatMoment, formatNanos, formatShare } from "../model/units";
import { flame, status, timeline, view } from "../state/store";
import { Menu } from "./menu";

/** What each cause of loss means; the names are the server's. */
const CAUSES: Record<string, string> = {
  ring_full: "the ring buffer was full: the profiler got too little processor time",
  undecodable: "records that could not be decoded",
  stack_unknown: "the user stack was never sent",
  kernel_stack_gone: "the kernel stack was gone from its map",
  queue_full: "the store could not keep up, or the disk was full",
  store_failed: "the database refused them",
};

export function QualityStrip() {
  const answer = flame.value;
  const now = status.value;
  return (
    <footer class="quality">
      {answer !== null && (
        <>
          <span>
            <b>{formatCount(answer.samples)}</b> samples in view{" "}
            <span class="quiet">({formatNanos(answer.samples * answer.nanosPerSample)} CPU)</span>
          </span>
          {answer.samples > 0 && (
            <span title={`${formatCount(answer.incomplete)} samples have a user stack that is cut short`}>
              <b>{formatShare(answer.samples - answer.incomplete, answer.samples)}</b> of stacks complete
            </span>
          )}
          {answer.hiddenNodes > 0 && (
            <span title="Too small to send; their samples are counted in frames named remainder">
              {formatCount(answer.hiddenNodes)} small frames folded
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

/** Losses in the range, with the causes since the database began; nothing when nothing was lost. */
function Lost() {
  const answer = timeline.value;
  const now = status.value;
  if (answer === null) return null;
  const { brush } = view.value;
  const { from_ms, step_ms, buckets } = answer;
  const lost = buckets.lost.reduce((sum, n, i) => {
    const at = from_ms + i * step_ms;
    return brush === null || (at >= brush.from && at < brush.to) ? sum + n : sum;
  }, 0);
  const causes = Object.entries(now?.totals.lost ?? {}).filter(([, n]) => n > 0);
  const ever = causes.reduce((sum, [, n]) => sum + n, 0);
  if (lost === 0 && ever === 0) return <span class="quiet">no samples lost</span>;
  return (
    <Menu
      label={`${formatCount(lost)} samples lost in view: show the causes`}
      class="above losses"
      faceClass={lost > 0 ? "link bad" : "link quiet"}
      face={
        <>
          <b>{formatCount(lost)}</b> samples lost{lost === 0 && " in view"}
        </>
      }
    >
      <p class="menu-title">Lost since the database began, by cause</p>
      <table>
        <tbody>
          {causes.map(([cause, n]) => (
            <tr key={cause}>
              <th scope="row">{CAUSES[cause] ?? cause}</th>
              <td>{formatCount(n)}</td>
              <td class="quiet">{formatShare(n, now?.totals.taken ?? 0)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Menu>
  );
}

/** What changed between two ranges or two filters: what is compared, the merged graph, the functions that changed most. */

import { useSignal } from "@preact/signals";
import type { DecodedSide } from "../api/decode";
import { diffInk } from "../model/color";
import { formatFunction, functionOf } from "../model/function";
import { recordedInPart } from "../model/late";
import {
  baseName,
  formatAmount,
  formatCores,
  formatCoresChange,
  formatInterval,
  formatPoints,
  formatShare,
  formatSpan,
  fromLocalInput,
  toLocalInput,
} from "../model/units";
import { baselineScope } from "../state/baseline";
import { changes, compareHalves, diff, diffPane } from "../state/diff";
import { flame, navigate, questions, shown, timeline, view } from "../state/store";
import { theme } from "../state/theme";
import type { Baseline } from "../state/view";
import { FlamePane } from "./flame-pane";
import { DiffLegend } from "./legend-bar";
import { Menu } from "./menu";

export function Diff() {
  const compared = diff.value;
  const { loading, failure } = questions.diff.state.value;
  return (
    <div class="diff">
      <Sides />
      {compared === null || compared.before[0] === 0 ? (
        <div class="empty" role="status">
          <h2>
            {loading
              ? "Loading …"
              : failure !== null
                ? "The earlier profile could not be had"
                : "Nothing to compare with"}
          </h2>
          {!loading && (
            <>
              <p>
                {failure?.kind === "refused"
                  ? `${failure.problem.title}. ${failure.problem.detail}`
                  : failure !== null
                    ? "The profiler does not answer; this page asks again by itself."
                    : "No sample was recorded in the earlier span. Choose another one above, or with Shift and a drag on the timeline."}
              </p>
              {failure === null && (
                <div class="actions">
                  <button type="button" class="button primary" onClick={compareHalves}>
                    Compare the halves of this range
                  </button>
                </div>
              )}
            </>
          )}
        </div>
      ) : (
        <div class="diff-body">
          <FlamePane pane={diffPane} />
          <Changes />
        </div>
      )}
      {compared !== null && compared.before[0] > 0 && <DiffLegend />}
    </div>
  );
}

const HOUR = 3_600_000;
const SHIFTS: readonly { label: string; ms: number }[] = [
  { label: "1 h", ms: HOUR },
  { label: "1 day", ms: 24 * HOUR },
  { label: "1 week", ms: 168 * HOUR },
];

function Sides() {
  const baseline = shown.baseline.value;
  const { before: base, after: now } = questions.diff.state.value.answer ?? { before: null, after: null };
  const set = (change: Partial<Baseline>) => navigate({ baseline: { ...baseline, ...change } });
  const shift = (ms: number) => {
    const now = flame.peek();
    if (now !== null) set({ range: { from: now.fromMs - ms, to: now.toMs - ms } });
  };
  return (
    <div class="sides">
      <p>
        <b>Before</b> {base === null ? "…" : formatInterval(base.fromMs, base.toMs)}{" "}
        <span class="quiet">{base !== null && formatAmount(base.samples, base.measure)}</span>
        <InPart side={base} />
      </p>
      <p>
        <b>Now</b> {now === null ? "…" : formatInterval(now.fromMs, now.toMs)}{" "}
        <span class="quiet">{now !== null && formatAmount(now.samples, now.measure)}</span>
        <InPart side={now} />
      </p>
      <span class="gap" />
      <button
        type="button"
        class="button small"
        aria-pressed={baseline.range === null}
        title="The span of the same length just before"
        onClick={() => set({ range: null })}
      >
        just before
      </button>
      <button
        type="button"
        class="button small"
        aria-pressed={baseline.range !== null && baseline.range.to === now?.fromMs}
        title="The earlier half of the range of the timeline with the later one"
        onClick={compareHalves}
      >
        halves
      </button>
      {SHIFTS.map(({ label, ms }) => (
        <button
          type="button"
          key={label}
          class="button small"
          aria-label={`${label} earlier`}
          title={`The same span ${label} earlier`}
          aria-pressed={baseline.range !== null && now !== null && baseline.range.from === now.fromMs - ms}
          onClick={() => shift(ms)}
        >
          {label}
        </button>
      ))}
      <BaselineForm set={set} />
      <label class="choice inline" title="Compare CPU time by recorded time (cores kept busy), not shares of each side">
        <input
          type="checkbox"
          checked={baseline.absolute}
          onChange={(event) => set({ absolute: event.currentTarget.checked })}
        />
        absolute
      </label>
    </div>
  );
}

/** Warns of a side that was not recorded all the time: what ran meanwhile is in neither its shares nor its cores. */
function InPart({ side }: { side: DecodedSide | null }) {
  if (side === null || !recordedInPart(side)) return null;
  const span = side.toMs - side.fromMs;
  return (
    <span class="in-part" title="What ran in the rest of the span is in neither its shares nor its cores">
      recorded in part: {formatSpan(side.recordedMs)} of {formatSpan(span)}
    </span>
  );
}

/** The earlier side, exactly: a range and a filter of its own. */
function BaselineForm({ set }: { set: (change: Partial<Baseline>) => void }) {
  const problem = useSignal("");
  const { from, to, filter } = baselineScope.value;
  const local = (instant: string | number) => toLocalInput(typeof instant === "number" ? instant : Date.now());
  return (
    <Menu label="Choose the earlier span" faceClass="button small" face="choose …">
      <form
        class="absolute-range"
        onSubmit={(event) => {
          event.preventDefault();
          const form = new FormData(event.currentTarget);
          const start = fromLocalInput(String(form.get("from")));
          const end = fromLocalInput(String(form.get("to")));
          if (start === null || end === null || start >= end) {
            problem.value = "The start must be before the end.";
            return;
          }
          problem.value = "";
          const text = String(form.get("filter")).trim();
          set({ range: { from: start, to: end }, filter: text === view.peek().filter ? null : text });
          event.currentTarget.closest("details")?.removeAttribute("open");
        }}
      >
        <label>
          From
          <input type="datetime-local" name="from" step="1" defaultValue={local(from)} required />
        </label>
        <label>
          To
          <input type="datetime-local" name="to" step="1" defaultValue={local(to)} required />
        </label>
        <label>
          Filter
          <input type="text" name="filter" class="code" defaultValue={filter} spellcheck={false} />
        </label>
        {timeline.value !== null && shown.brush.value === null && (
          <p class="quiet">Brush the timeline to choose the later side.</p>
        )}
        {problem.value !== "" && <p class="problem">{problem}</p>}
        <button type="submit" class="button primary">
          Compare
        </button>
      </form>
    </Menu>
  );
}

const SHOWN = 60;

function Changes() {
  const compared = diff.value;
  if (compared === null) return null;
  const { absolute, sides } = compared;
  const amount = (samples: number, side: 0 | 1): string => {
    const { samples: all, measure, recordedMs } = sides[side];
    return absolute
      ? `${formatCores((samples * measure.scale) / Math.max(recordedMs * 1e6, 1))} cores`
      : formatShare(samples, all);
  };
  const rows = changes.value.filter((row) => row.verdict !== "noise").slice(0, SHOWN);
  return (
    <section class="changes" aria-label="Functions that changed most">
      <h2>
        Self time that changed most <span class="quiet">{absolute ? "in cores" : "in % of all"}</span>
      </h2>
      {rows.length === 0 && <p class="quiet">No function changed by more than chance.</p>}
      <ul>
        {rows.map((row) => {
          const chosen = functionOf(compared.tree.frames, row.frame);
          const ink = theme.value.inks[diffInk(row.verdict === "more" ? 3 : -3)];
          return (
            <li key={row.frame}>
              <button
                type="button"
                class="change"
                title={`${chosen.name}: before ${amount(row.before, 0)}, now ${amount(row.after, 1)}${chosen.binary === null ? "" : `, ${baseName(chosen.binary)}`}`}
                onClick={() => navigate({ search: `"${chosen.name}"`, fn: formatFunction(chosen) })}
              >
                <span class="delta" style={{ background: ink.fill, color: ink.text }}>
                  {absolute ? formatCoresChange(row.change) : formatPoints(row.change)}
                </span>
                <span class="name">{chosen.name}</span>
              </button>
            </li>
          );
        })}
      </ul>
    </section>
  );
}

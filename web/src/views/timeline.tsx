/** The timeline: what was busy when, read out under the pointer, and the brush that says what the graph below is about. */

import { effect, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Timeline as Answer } from "../api/contract";
import {
  formatClock,
  formatCores,
  formatCount,
  formatInterval,
  formatMoment,
  formatShare,
  formatSpan,
} from "../model/units";
import { navigate, questions, status, timeline, view } from "../state/store";
import { isDark } from "../state/theme";
import { CloseIcon, ZoomInIcon } from "./icons";
import { type ChartColors, TimelineChart } from "./timeline-chart";

const LIGHT: ChartColors = {
  busy: "#2f6fd0",
  busyFill: "rgba(47,111,208,0.22)",
  host: "#7b8794",
  axis: "#59636f",
  grid: "rgba(20,30,45,0.07)",
  lost: "#d1242f",
  gap: "rgba(20,30,45,0.10)",
};
const DARK: ChartColors = {
  busy: "#6ea8ff",
  busyFill: "rgba(110,168,255,0.22)",
  host: "#8b96a3",
  axis: "#a3adb9",
  grid: "rgba(230,237,243,0.07)",
  lost: "#ff6b6b",
  gap: "rgba(230,237,243,0.10)",
};

export function Timeline() {
  const host = useRef<HTMLDivElement>(null);
  const bucket = useSignal(-1);
  useEffect(() => {
    const element = host.current;
    if (element === null) return;
    const chart = new TimelineChart(element, {
      onBrush: (interval) => navigate({ brush: interval }),
      onHover: (at) => {
        bucket.value = at;
      },
    });
    const stopDrawing = effect(() => {
      const colors = isDark.value ? DARK : LIGHT;
      const answer = timeline.value;
      if (answer === null) return;
      const { recording, database } = status.value ?? { recording: null, database: null };
      const knownUntil = recording === null ? Number.POSITIVE_INFINITY : (database?.newest_ms ?? 0);
      chart.update({ timeline: answer, coresMax: coresMax(answer), knownUntil }, colors);
    });
    const stopBrush = effect(() => chart.showBrush(view.value.brush));
    const watcher = new ResizeObserver(() => chart.resize());
    watcher.observe(element);
    return () => {
      stopDrawing();
      stopBrush();
      watcher.disconnect();
      chart.destroy();
    };
  }, [bucket]);
  const { answer, failure } = questions.timeline.state.value;
  return (
    <section class="timeline" aria-label="Timeline">
      <div class="timeline-head">
        <Key />
        <ReadOut answer={answer} bucket={bucket.value} />
        <Selection />
      </div>
      <div class="chart" ref={host}>
        {answer === null && <p class="quiet chart-note">{failure === null ? "Loading …" : "No timeline"}</p>}
      </div>
    </section>
  );
}

/**
 * Top of the cores axis. Unfiltered it is all CPUs, so that it lines up with the host's share on the right; filtered it is
 * what makes the busiest bucket fill the height.
 */
function coresMax(answer: Answer): number {
  const cpus = status.value?.recording?.cpus ?? 0;
  const busiest = answer.buckets.busy_cores.reduce<number>((most, cores) => Math.max(most, cores ?? 0), 0);
  if (view.value.filter === "" && busiest <= cpus) return cpus;
  return Math.max(busiest * 1.1, 0.01);
}

function Key() {
  return (
    <p class="key">
      <span class="swatch busy" /> cores busy
      {view.value.filter !== "" && " (filtered)"}
      <span class="swatch line" /> host utilisation
      <span class="swatch lost" /> samples lost
      <span class="swatch gap" /> not recorded
    </p>
  );
}

function ReadOut({ answer, bucket }: { answer: Answer | null; bucket: number }) {
  if (answer === null) return null;
  const { from_ms, to_ms, step_ms, buckets } = answer;
  if (bucket < 0 || bucket >= buckets.samples.length) {
    return <p class="read-out quiet">{formatInterval(from_ms, to_ms)}</p>;
  }
  const at = from_ms + bucket * step_ms;
  const busy = buckets.busy_cores[bucket];
  const used = buckets.utilisation[bucket];
  const lost = buckets.lost[bucket];
  return (
    <p class="read-out">
      {to_ms - from_ms > 43_200_000 ? formatMoment(at) : formatClock(at)}
      {busy === null ? (
        <span class="quiet"> nothing recorded</span>
      ) : (
        <>
          {" "}
          <strong>{formatCores(busy)}</strong> cores
          {used !== null && `, host ${formatShare(used, 1)}`}, {formatCount(buckets.samples[bucket])} samples
        </>
      )}
      {lost > 0 && <strong class="bad"> {formatCount(lost)} lost</strong>}
    </p>
  );
}

function Selection() {
  const { brush } = view.value;
  if (brush === null) return <p class="selection quiet">Drag to select a part</p>;
  return (
    <p class="selection">
      <span>
        {formatInterval(brush.from, brush.to)} <span class="quiet">({formatSpan(brush.to - brush.from)})</span>
      </span>
      <button
        type="button"
        class="button small"
        title="Make the selection the whole range"
        onClick={() => navigate({ from: brush.from, to: brush.to, brush: null })}
      >
        <ZoomInIcon /> Zoom in
      </button>
      <button type="button" class="button small" title="Show the whole range" onClick={() => navigate({ brush: null })}>
        <CloseIcon /> Reset
      </button>
    </p>
  );
}

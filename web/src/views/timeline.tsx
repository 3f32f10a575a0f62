/** The timeline: what was busy when, read out under the pointer, and the brush that says what the graph below is about. */

import { computed, effect, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Timeline as Answer } from "../api/contract";
import { brushAfter } from "../model/brush-keys";
import { CATEGORIES, categoryInk, type FlameTheme } from "../model/color";
import { hullOf } from "../model/heat-cells";
import { MISSES } from "../model/remedies";
import { toggleValue } from "../model/selector";
import { edgesOf, MOST_BANDS } from "../model/stack";
import { PRESETS, resolveInstant } from "../model/time-range";
import {
  formatClock,
  formatCores,
  formatCount,
  formatInterval,
  formatMoment,
  formatSamples,
  formatShare,
  formatSpan,
} from "../model/units";
import { baselineSpan } from "../state/baseline";
import { bands } from "../state/stack";
import { announcement, navigate, questions, shown, timeline, view } from "../state/store";
import { isDark, theme } from "../state/theme";
import { utc } from "../state/zone";
import { LABEL_NAMES } from "./facets";
import { CloseIcon, ZoomInIcon, ZoomOutIcon } from "./icons";
import type { ChartColors } from "./timeline-chart";
import { type ChartData, marksOf } from "./timeline-marks";

const LIGHT = {
  busy: "#2f6fd0",
  busyFill: "rgba(47,111,208,0.22)",
  host: "#7b8794",
  axis: "#59636f",
  grid: "rgba(20,30,45,0.07)",
  lost: "#d1242f",
  missed: "#8250df",
  gap: "rgba(20,30,45,0.10)",
  cut: "rgba(214,158,0,0.55)",
  began: "#59636f",
};
const DARK = {
  busy: "#6ea8ff",
  busyFill: "rgba(110,168,255,0.22)",
  host: "#8b96a3",
  axis: "#a3adb9",
  grid: "rgba(230,237,243,0.07)",
  lost: "#ff6b6b",
  missed: "#a585f0",
  gap: "rgba(230,237,243,0.10)",
  cut: "rgba(201,162,39,0.6)",
  began: "#a3adb9",
};

const chartColors = computed<ChartColors>(() => ({
  ...(isDark.value ? DARK : LIGHT),
  bands: bandColors(theme.value),
  utc: utc.value,
}));

/** The colours of the categories; the last for what is left over. */
function bandColors(theme: FlameTheme): string[] {
  const fills = Array.from({ length: MOST_BANDS }, (_, i) => theme.inks[categoryInk(i)].fill);
  return [...fills, theme.inks[categoryInk(CATEGORIES)].fill];
}

const chartData = computed<ChartData | null>(() => {
  const answer = timeline.value;
  if (answer === null) return null;
  const stacked = bands.value;
  return {
    timeline: answer,
    coresMax: coresMax(answer),
    edges: stacked === null ? null : edgesOf(stacked),
    leftOver: stacked?.at(-1)?.value === null,
  };
});

/** From the first to the last moment of the heat map's box: what is shown is of some of that time. */
const boxHull = computed(() => {
  const [from, to, box] = [shown.from.value, shown.to.value, shown.box.value];
  if (box === null || typeof from !== "number" || typeof to !== "number") return null;
  return hullOf({ fromMs: from, toMs: to, columns: box.columns, rows: box.rows }, box);
});

/**
 * Mounts when what was rendered is on the screen: to load and to make the chart takes longer than a frame (its library asks for the
 * language's numbers and time zone as soon as it is loaded), and the graph below must not wait for it, to be shown or to take input.
 */
function useOnceShown(mount: (chart: typeof import("./timeline-chart")) => (() => void) | undefined): void {
  useEffect(() => {
    let unmount: (() => void) | undefined;
    let ended = false;
    const frame = requestAnimationFrame(() => {
      setTimeout(async () => {
        const chart = await import("./timeline-chart");
        if (!ended) unmount = mount(chart);
      });
    });
    return () => {
      ended = true;
      cancelAnimationFrame(frame);
      unmount?.();
    };
  }, []);
}

export function Timeline() {
  const host = useRef<HTMLDivElement>(null);
  const bucket = useSignal(-1);
  useOnceShown(({ TimelineChart }) => {
    const element = host.current;
    if (element === null) return;
    const chart = new TimelineChart(element, {
      onBrush: (interval, base) => {
        const { baseline } = view.peek();
        navigate(base ? { baseline: { ...baseline, range: interval } } : { brush: interval });
      },
      onHover: (at) => {
        bucket.value = at;
      },
    });
    const stopDrawing = effect(() => {
      if (chartData.value !== null) chart.update(chartData.value, chartColors.value);
    });
    const stopBrush = effect(() => {
      chart.showBrush(shown.brush.value ?? boxHull.value);
      chart.showBase(shown.tab.value === "diff" ? baselineSpan.value : null);
    });
    const watcher = new ResizeObserver(() => chart.resize());
    watcher.observe(element);
    return () => {
      stopDrawing();
      stopBrush();
      watcher.disconnect();
      chart.destroy();
    };
  });
  const { answer, failure, stale } = questions.timeline.state.value;
  return (
    <section class={stale ? "timeline stale" : "timeline"} aria-label="Timeline">
      <div class="timeline-head">
        <Key />
        <ReadOut answer={answer} bucket={bucket.value} />
        <StackBy />
        <Selection />
      </div>
      <div
        class="chart"
        ref={host}
        role="application"
        aria-roledescription="timeline"
        aria-label="Timeline. Left and right move a selection, with Shift its end, Enter zooms in, Escape shows everything."
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it takes keys
        tabIndex={0}
        onKeyDown={onKey}
      >
        <BandValues answer={answer} bucket={bucket.value} />
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
  const { cpus } = answer;
  const busiest = answer.buckets.busy_cores.reduce<number>((most, cores) => Math.max(most, cores ?? 0), 0);
  if (shown.filter.value === "" && busiest <= cpus) return cpus;
  return Math.max(busiest * 1.1, 0.01);
}

function onKey(event: KeyboardEvent): void {
  const whole = timeline.peek();
  const { brush } = view.peek();
  if (whole === null || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
    const next = brushAfter(brush, whole, event.key === "ArrowRight" ? 1 : -1, event.shiftKey);
    navigate({ brush: next }, brush === null ? "push" : "replace");
    announcement.value = `Selected ${formatInterval(next.from, next.to)}`;
  } else if (event.key === "Enter" && brush !== null) {
    navigate({ from: brush.from, to: brush.to, brush: null });
  } else if (event.key === "Escape" && brush !== null) {
    navigate({ brush: null });
  } else return;
  event.preventDefault();
  event.stopPropagation();
}

/** A longer range around the shown one: the next preset, or twice as long. */
function zoomOut(): void {
  const { from, to } = view.peek();
  const preset = PRESETS.findIndex((one) => one.from === from);
  if (to === "now" && preset >= 0 && preset < PRESETS.length - 1) {
    navigate({ from: PRESETS[preset + 1].from });
    return;
  }
  const now = Date.now();
  const [start, end] = [resolveInstant(from, now), resolveInstant(to, now)];
  const half = (end - start) / 2;
  navigate({ from: Math.round(start - half), to: end + half >= now ? "now" : Math.round(end + half) });
}

/** Explains what there is to see: a mark that the range does not have is left out. */
function Key() {
  const colors = chartColors.value;
  const stacked = bands.value;
  const data = chartData.value;
  const marks = data === null ? null : marksOf(data);
  return (
    <p class="key">
      {stacked === null ? (
        <span>
          <i class="swatch busy" /> cores busy{shown.filter.value !== "" && " (filtered)"}
        </span>
      ) : (
        stacked.map(({ value }, i) => {
          const swatch = (
            <i class="swatch" style={{ background: value === null ? colors.bands.at(-1) : colors.bands[i] }} />
          );
          return value === null ? (
            <span key={value} class="band">
              {swatch} others
            </span>
          ) : (
            <button
              type="button"
              key={value}
              class="band"
              title={`Only ${bandName(value)}; Alt+click leaves it out`}
              onClick={(event) => chooseBand(value, event.altKey ? "excluded" : "included")}
            >
              {swatch} {bandName(value)}
            </button>
          );
        })
      )}
      <span title="Of all processors of the host, in per cent on the right">
        <i class="swatch line" /> host
      </span>
      {marks?.cut && (
        <span title="Samples whose stack is not whole: the quality tab says why">
          <i class="swatch cut" /> cut short
        </span>
      )}
      {marks?.lost && (
        <span title="Samples were lost: the quality tab says why">
          <i class="swatch lost" /> lost
        </span>
      )}
      {marks?.missed && (
        <span title="Time that was not sampled: the quality tab says why">
          <i class="swatch missed" /> missed
        </span>
      )}
      {marks?.gap && (
        <span>
          <i class="swatch gap" /> not recorded
        </span>
      )}
      {marks?.began && (
        <span title="Recording began, or went on after a gap">
          <i class="swatch began" /> began
        </span>
      )}
    </p>
  );
}

/** Includes or leaves out what a band stands for, as its facet does. */
function chooseBand(value: string, how: "included" | "excluded"): void {
  const { by, filter } = view.peek();
  if (by !== null) navigate({ filter: toggleValue(filter, by, value, how), zoom: null });
}

function StackBy() {
  const labels = questions.labels.state.value.answer?.labels ?? [];
  const by = shown.by.value;
  return (
    <label class="color-mode">
      Split by{" "}
      <select value={by ?? ""} onChange={(event) => navigate({ by: event.currentTarget.value || null }, "replace")}>
        <option value="">no label</option>
        {labels.map((label) => (
          <option key={label} value={label}>
            {(LABEL_NAMES[label] ?? label).toLowerCase()}
          </option>
        ))}
      </select>
    </label>
  );
}

/** What each band had in the bucket under the pointer: beside the pointer, for there are more than the line above has room for. */
function BandValues({ answer, bucket }: { answer: Answer | null; bucket: number }) {
  const stacked = bands.value;
  if (answer === null || stacked === null || bucket < 0 || bucket >= answer.buckets.samples.length) return null;
  const at = (bucket + 0.5) / answer.buckets.samples.length;
  const colors = chartColors.value.bands;
  return (
    <ul
      class={at > 0.5 ? "band-values before" : "band-values"}
      style={{ "--at": String(at) }}
      aria-hidden="true"
      data-testid="band-values"
    >
      <li class="quiet">
        <span class="name">{formatMoment(answer.from_ms + bucket * answer.step_ms).slice(5)}</span>
        <b>cores</b>
      </li>
      {stacked.map(({ value, cores }, i) => {
        const now = cores[bucket];
        return (
          <li key={value}>
            <i class="swatch" style={{ background: value === null ? colors.at(-1) : colors[i] }} />
            <span class="name">{bandName(value)}</span>
            <b>{now === null ? "–" : formatCores(now)}</b>
          </li>
        );
      })}
    </ul>
  );
}

function bandName(value: string | null): string {
  return value === null ? "others" : value === "" ? "(none)" : value;
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
  const incomplete = buckets.incomplete[bucket];
  const missed = buckets.missed_share[bucket] ?? 0;
  const cause = buckets.missed_cause[bucket];
  return (
    <p class="read-out">
      {to_ms - from_ms > 43_200_000 ? formatMoment(at) : formatClock(at)}
      {busy === null ? (
        <span class="quiet"> nothing recorded</span>
      ) : (
        <>
          {" "}
          <strong>{formatCores(busy)}</strong> cores
          {used !== null && `, host ${formatShare(used, 1)}`}
          {missed > 0 && `, ${formatShare(missed, 1)} of ticks missed`}
          {missed > 0 && cause !== null && <span class="quiet"> ({MISSES[cause]?.what ?? cause})</span>},{" "}
          {buckets.samples[bucket] === 0 && busy > 0 ? "counted before" : formatSamples(buckets.samples[bucket])}
          {incomplete > 0 && `, ${formatShare(incomplete, buckets.samples[bucket])} cut short`}
        </>
      )}
      {lost > 0 && <strong class="bad"> {formatCount(lost)} lost</strong>}
    </p>
  );
}

function Selection() {
  const brush = shown.brush.value;
  const tab = shown.tab.value;
  const comparing = tab === "diff";
  const box = boxHull.value;
  if (brush === null && box !== null) {
    return (
      <p class="selection">
        <span>
          <span class="quiet">Box of the heat map</span> {formatInterval(box.from, box.to)}
        </span>
        <button type="button" class="button small" title="Show the whole range" onClick={() => navigate({ box: null })}>
          <CloseIcon /> Reset
        </button>
      </p>
    );
  }
  if (brush === null) {
    return (
      <p class="selection">
        <span class="quiet hint">{comparing ? "Drag: now. Shift and drag: before" : "Drag to zoom"}</span>
        <button type="button" class="button small" title="Show a longer range" onClick={zoomOut}>
          <ZoomOutIcon /> Zoom out
        </button>
      </p>
    );
  }
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

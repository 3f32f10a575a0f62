/**
 * The range as a heat map, down to 10 ms: what repeats shows as stripes, what is short as a spot. A drag or Shift+arrows select
 * a box, and the flame graph below is of just that box. Its times are fixed then: a box of a moving range would be another.
 */

import { useComputed, useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { mix } from "../model/color";
import {
  boxOf,
  cellAt,
  cellMs,
  type HeatBox,
  type HeatGrid,
  type HeatScale,
  hullOf,
  roundTimes,
  scaleOf,
  strengthsOf,
  timeOf,
} from "../model/heat-cells";
import {
  formatAmount,
  formatClock,
  formatFigure,
  formatInterval,
  formatMillis,
  formatMoment,
  type Measure,
} from "../model/units";
import { drawHeat } from "../render/heat-canvas";
import { mainPane } from "../state/pane";
import { announcement, navigate, questions, shown, status, timeline } from "../state/store";
import { isDark, theme } from "../state/theme";
import { DetailsLine } from "./details";
import { emptyState } from "./empty";
import { FlamePane } from "./flame-pane";

const STEPS = 12;

type Cell = { column: number; row: number };

export function HeatMap() {
  const canvas = useRef<HTMLCanvasElement>(null);
  const size = useSignal({ width: 0, height: 0 });
  const cursor = useSignal<Cell | null>(null);
  const anchor = useSignal<Cell | null>(null);
  const contrast = useSignal(false);
  const { answer, failure } = questions.heat.state.value;
  const heat = useComputed(() => {
    const at = questions.heat.state.value.answer;
    if (at === null) return null;
    const grid: HeatGrid = { fromMs: at.from_ms, toMs: at.to_ms, columns: at.columns, rows: at.rows };
    return { grid, values: at.samples, of: at };
  });
  const scale = useComputed<HeatScale>(() => {
    const now = heat.value;
    return now === null ? { low: 0, high: 1 } : scaleOf(now.values, contrast.value ? null : expected(now.grid, now.of));
  });
  const ramp = useComputed(() => {
    const [least, middle, most] = isDark.value ? ["#1b2532", "#a4361f", "#ffb454"] : ["#eef2f7", "#f5a34c", "#b3340a"];
    return Array.from({ length: STEPS }, (_, i) => {
      const share = i / (STEPS - 1);
      return share < 0.5 ? mix(least, middle, share * 2) : mix(middle, most, share * 2 - 1);
    });
  });
  /** The box of the address, where it is one of this grid. */
  const chosen = useComputed<HeatBox | null>(() => {
    const box = shown.box.value;
    const grid = heat.value?.grid;
    return box !== null && box.columns === grid?.columns && box.rows === grid.rows ? box : null;
  });
  useSignalEffect(() => {
    const now = heat.value;
    const { width, height } = size.value;
    if (canvas.current === null || now === null || width === 0) return;
    const dragged = anchor.value !== null && cursor.value !== null ? boxOf(now.grid, anchor.value, cursor.value) : null;
    const scene = {
      columns: now.grid.columns,
      rows: now.grid.rows,
      strengths: strengthsOf(now.values, scale.value),
      ramp: ramp.value,
      selection: theme.value.selection,
      box: dragged ?? chosen.value,
      cursor: cursor.value,
      text: isDark.value ? "#ffffff" : "#000000",
    };
    drawHeat(canvas.current, scene, width, height, devicePixelRatio);
  });
  // The canvas comes with the first answer.
  useEffect(() => {
    const element = canvas.current?.parentElement;
    if (element === null || element === undefined) return;
    const watcher = new ResizeObserver(() => {
      size.value = { width: element.clientWidth, height: element.clientHeight };
    });
    watcher.observe(element);
    return () => watcher.disconnect();
  }, [size, answer === null]);
  if (answer === null) {
    return (
      <div class={failure === null ? "empty loading" : "empty"} role="status">
        {failure?.kind === "refused" ? failure.problem.title : "Loading …"}
      </div>
    );
  }
  const hit = (event: PointerEvent): Cell | null => {
    const box = canvas.current?.getBoundingClientRect();
    const grid = heat.peek()?.grid;
    if (box === undefined || grid === undefined) return null;
    // Rows rise.
    return cellAt(grid, (event.clientX - box.left) / box.width, (box.bottom - event.clientY - 0.5) / box.height);
  };
  const finish = (): void => {
    const grid = heat.peek()?.grid;
    if (grid !== undefined && anchor.peek() !== null && cursor.peek() !== null) {
      const box = boxOf(grid, anchor.peek() as Cell, cursor.peek() as Cell);
      navigate({ from: grid.fromMs, to: grid.toMs, brush: null, box });
    }
    anchor.value = null;
  };
  const read = (cell: Cell | null): string => {
    const now = heat.peek();
    if (cell === null || now === null) return "";
    const at = timeOf(now.grid, cell.column, cell.row);
    const samples = now.values[cell.column * now.grid.rows + cell.row] ?? 0;
    return `${formatMoment(at)}.${formatMillis(at)}, ${formatAmount(samples, now.of)}`;
  };
  const onKey = (event: KeyboardEvent): void => {
    const grid = heat.peek()?.grid;
    if (grid === undefined) return;
    const by = ({ ArrowUp: [0, 1], ArrowDown: [0, -1], ArrowRight: [1, 0], ArrowLeft: [-1, 0] } as const)[
      event.key as "ArrowDown"
    ] as readonly [number, number] | undefined;
    if (by !== undefined) {
      const from = cursor.peek() ?? { column: 0, row: 0 };
      if (event.shiftKey && anchor.peek() === null) anchor.value = from;
      if (!event.shiftKey) anchor.value = null;
      cursor.value = {
        column: Math.max(0, Math.min(grid.columns - 1, from.column + by[0])),
        row: Math.max(0, Math.min(grid.rows - 1, from.row + by[1])),
      };
      announcement.value = read(cursor.peek());
    } else if (event.key === "Enter") {
      if (anchor.peek() === null) anchor.value = cursor.peek();
      finish();
    } else if (event.key === "Escape") {
      anchor.value = null;
      navigate({ box: null });
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const grid = heat.value?.grid;
  return (
    <div class="heat">
      <div class="heat-head">
        <span>
          Each column is <b>{grid === undefined ? "" : span(columnMs(grid))}</b> from bottom to top, each cell{" "}
          <b>{grid === undefined ? "" : span(cellMs(grid))}</b>
        </span>
        <span class="ramp" aria-hidden="true">
          {formatFigure(scale.value.low, answer)}{" "}
          {ramp.value.map((color) => (
            <i key={color} style={{ background: color }} />
          ))}{" "}
          {formatAmount(scale.value.high, answer)} and more
        </span>
        <label
          class="choice inline"
          title="From the rarest to the busiest cells, instead of from nothing to all processors busy"
        >
          <input
            type="checkbox"
            checked={contrast.value}
            onChange={(event) => {
              contrast.value = event.currentTarget.checked;
            }}
          />
          more contrast
        </label>
        {answer.untimed > 0 && (
          <span class="quiet">{formatAmount(answer.untimed, answer)}: older than the times that are kept</span>
        )}
        <span class="read-out">{read(cursor.value)}</span>
        <Selected box={chosen.value} grid={grid} />
      </div>
      <div class="heat-plot" style={insets(grid)}>
        <p class="heat-rows" aria-hidden="true">
          {grid !== undefined &&
            [1, 0.5, 0].map((part) => <span key={part}>+{part === 0 ? 0 : span(columnMs(grid) * part)}</span>)}
        </p>
        <div class="heat-canvas">
          {/* biome-ignore lint/a11y/noInteractiveElementToNoninteractiveRole: it takes keys like an application does */}
          <canvas
            ref={canvas}
            tabIndex={0}
            role="application"
            aria-roledescription="heat map"
            aria-label="Heat map of samples. Arrow keys move, Shift and arrows select, Enter shows the flame graph of the selection."
            onPointerDown={(event) => {
              if (event.button !== 0) return;
              event.currentTarget.setPointerCapture(event.pointerId);
              cursor.value = hit(event);
              anchor.value = cursor.peek();
            }}
            onPointerMove={(event) => {
              const cell = hit(event);
              if (cell !== null || anchor.peek() === null) cursor.value = cell;
            }}
            onPointerUp={finish}
            onPointerCancel={() => {
              anchor.value = null;
            }}
            onPointerLeave={() => {
              if (anchor.peek() === null) cursor.value = null;
            }}
            onKeyDown={onKey}
          />
        </div>
        <p class="heat-columns" aria-hidden="true">
          {grid !== undefined &&
            columnTicks(grid).map(({ at, text }) => (
              <span key={at} style={{ left: `${at * 100}%` }}>
                {text}
              </span>
            ))}
        </p>
      </div>
      {emptyState("flame") ?? (
        <>
          <FlamePane pane={mainPane} />
          <DetailsLine />
        </>
      )}
    </div>
  );
}

function columnMs(grid: HeatGrid): number {
  return cellMs(grid) * grid.rows;
}

/** As much as all processors give in a cell; null where that is not what a cell is of. */
function expected(grid: HeatGrid, of: Measure): number | null {
  const recording = status.value?.recording ?? null;
  if (recording === null || shown.filter.value !== "") return null;
  return (recording.cpus * cellMs(grid) * (of.counts_samples ? recording.hz : 1e9)) / 1_000;
}

/** Where the grid lies between the edges of the timeline above, which begins and ends with whole buckets: one moment is at one place. */
function insets(grid: HeatGrid | undefined): Record<string, string> {
  const above = timeline.value;
  if (grid === undefined || above === null || shown.brush.value !== null) return {};
  const length = above.to_ms - above.from_ms;
  const share = (ms: number) => `${Math.max(0, (ms / length) * 100).toFixed(3)}%`;
  return { "--before": share(grid.fromMs - above.from_ms), "--after": share(above.to_ms - grid.toMs) };
}

const MOST_TICKS = 8;

/** Round times, as shares of the width, with as much of the time as tells them apart. */
function columnTicks(grid: HeatGrid): { at: number; text: string }[] {
  const column = columnMs(grid);
  const text = (ms: number): string => {
    if (column < 1_000) return `${formatClock(ms)}.${formatMillis(ms)}`;
    if (grid.toMs - grid.fromMs > 86_400_000) return formatMoment(ms).slice(5, 16);
    return column < 60_000 ? formatClock(ms) : formatClock(ms).slice(0, 5);
  };
  const length = grid.toMs - grid.fromMs;
  return roundTimes(grid.fromMs, grid.toMs, MOST_TICKS).map((ms) => ({
    at: (ms - grid.fromMs) / length,
    text: text(ms),
  }));
}

function Selected({ box, grid }: { box: HeatBox | null; grid: HeatGrid | undefined }) {
  if (box === null || grid === undefined) {
    return <span class="selection quiet">Drag over cells to see their flame graph</span>;
  }
  const hull = hullOf(grid, box);
  return (
    <span class="selection">
      {formatInterval(hull.from, hull.to)}{" "}
      <button
        type="button"
        class="button small"
        title="Make a heat map of this part alone"
        onClick={() => navigate({ from: hull.from, to: hull.to, brush: null, box: null })}
      >
        Zoom in
      </button>
      <button type="button" class="button small" onClick={() => navigate({ box: null })}>
        Whole range
      </button>
    </span>
  );
}

function span(ms: number): string {
  if (ms < 950) return `${+ms.toFixed(1)} ms`;
  return ms < 120_000 ? `${+(ms / 1_000).toFixed(1)} s` : `${+(ms / 60_000).toFixed(1)} min`;
}

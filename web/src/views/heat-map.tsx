/**
 * The range as a heat map: each cell a short span, columns side by side; what repeats shows as stripes, what is short as a
 * spot. A drag or Shift+arrows select a span, and the flame graph below is of just that span.
 */

import { useComputed, useSignal, useSignalEffect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { mix } from "../model/color";
import { cellAt, cellsOf, heatGrid, spanOf } from "../model/heat-cells";
import { formatClock, formatCores, formatInterval, formatMoment, formatSpan } from "../model/units";
import { drawHeat } from "../render/heat-canvas";
import { mainPane } from "../state/pane";
import { announcement, navigate, questions, view } from "../state/store";
import { isDark, theme } from "../state/theme";
import { DetailsLine } from "./details";
import { FlamePane } from "./flame-pane";

const STEPS = 12;

export function HeatMap() {
  const canvas = useRef<HTMLCanvasElement>(null);
  const size = useSignal({ width: 0, height: 0 });
  const cursor = useSignal(-1);
  const anchor = useSignal(-1);
  const answer = questions.heat.state.value.answer;
  const heat = useComputed(() => {
    const at = questions.heat.state.value.answer;
    if (at === null) return null;
    const cores = at.buckets.busy_cores;
    const most = cores.reduce<number>((max, value) => Math.max(max, value ?? 0), 0);
    const values = cores.map((value) => (value === null ? null : most > 0 ? value / most : 0));
    return { grid: heatGrid(at.from_ms, at.step_ms, cores.length), values, cores, most };
  });
  const ramp = useComputed(() => {
    const [least, most] = isDark.value ? ["#1b2532", "#ffb454"] : ["#eef2f7", "#b3340a"];
    const middle = isDark.value ? "#a4361f" : "#f5a34c";
    return Array.from({ length: STEPS }, (_, i) => {
      const share = i / (STEPS - 1);
      return share < 0.5 ? mix(least, middle, share * 2) : mix(middle, most, share * 2 - 1);
    });
  });
  useSignalEffect(() => {
    const now = heat.value;
    const { width, height } = size.value;
    if (canvas.current === null || now === null || width === 0) return;
    const { brush } = view.value;
    const dragged = anchor.value >= 0 && cursor.value >= 0 ? spanOf(now.grid, anchor.value, cursor.value) : brush;
    const scene = {
      ...now,
      ramp: ramp.value,
      empty: "transparent",
      selection: theme.value.selection,
      selected: dragged === null ? null : cellsOf(now.grid, dragged),
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
      <div class="empty loading" role="status">
        Loading …
      </div>
    );
  }
  const hit = (event: PointerEvent): number => {
    const box = canvas.current?.getBoundingClientRect();
    if (box === undefined || heat.peek() === null) return -1;
    return cellAt(
      (heat.peek() as NonNullable<typeof heat.value>).grid,
      (event.clientX - box.left) / box.width,
      (event.clientY - box.top) / box.height,
    );
  };
  const finish = (): void => {
    const now = heat.peek();
    if (now !== null && anchor.peek() >= 0 && cursor.peek() >= 0) {
      navigate({ brush: spanOf(now.grid, anchor.peek(), cursor.peek()) });
    }
    anchor.value = -1;
  };
  const onKey = (event: KeyboardEvent): void => {
    const now = heat.peek();
    if (now === null) return;
    const { rows, cells } = now.grid;
    const by = { ArrowDown: 1, ArrowUp: -1, ArrowRight: rows, ArrowLeft: -rows }[event.key];
    if (by !== undefined) {
      if (event.shiftKey && anchor.peek() < 0) anchor.value = Math.max(0, cursor.peek());
      if (!event.shiftKey) anchor.value = -1;
      cursor.value = Math.max(0, Math.min(cells - 1, cursor.peek() + by));
      announcement.value = said(now.grid.fromMs + cursor.peek() * now.grid.stepMs, now.cores[cursor.peek()]);
    } else if (event.key === "Enter") {
      if (anchor.peek() < 0) anchor.value = cursor.peek();
      finish();
    } else if (event.key === "Escape") {
      anchor.value = -1;
      navigate({ brush: null });
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const now = heat.value;
  const { brush } = view.value;
  return (
    <div class="heat">
      <div class="heat-head">
        <span>
          Each cell is <b>{formatSpanFine(answer.step_ms)}</b>, each column{" "}
          <b>{formatSpanFine(answer.step_ms * (now?.grid.rows ?? 1))}</b>, from top to bottom
        </span>
        <span class="ramp" aria-hidden="true">
          0{" "}
          {ramp.value.map((color) => (
            <i key={color} style={{ background: color }} />
          ))}{" "}
          {formatCores(now?.most ?? 0)} cores
        </span>
        <span class="read-out">
          {cursor.value >= 0 && now !== null
            ? said(now.grid.fromMs + cursor.value * now.grid.stepMs, now.cores[cursor.value])
            : ""}
        </span>
        <span class="selection">
          {brush === null ? (
            <span class="quiet">Drag over cells to see their flame graph</span>
          ) : (
            <>
              {formatInterval(brush.from, brush.to)}{" "}
              <button type="button" class="button small" onClick={() => navigate({ brush: null })}>
                Whole range
              </button>
            </>
          )}
        </span>
      </div>
      <div class="heat-canvas">
        {/* biome-ignore lint/a11y/noInteractiveElementToNoninteractiveRole: it takes keys like an application does */}
        <canvas
          ref={canvas}
          tabIndex={0}
          role="application"
          aria-roledescription="heat map"
          aria-label="Heat map of cores busy. Arrow keys move, Shift and arrows select, Enter shows the flame graph of the selection."
          onPointerDown={(event) => {
            if (event.button !== 0) return;
            event.currentTarget.setPointerCapture(event.pointerId);
            cursor.value = hit(event);
            anchor.value = cursor.peek();
          }}
          onPointerMove={(event) => {
            const cell = hit(event);
            if (cell >= 0 || anchor.peek() < 0) cursor.value = cell;
          }}
          onPointerUp={finish}
          onPointerCancel={() => {
            anchor.value = -1;
          }}
          onPointerLeave={() => {
            if (anchor.peek() < 0) cursor.value = -1;
          }}
          onKeyDown={onKey}
        />
      </div>
      <FlamePane pane={mainPane} />
      <DetailsLine />
    </div>
  );
}

function said(ms: number, cores: number | null | undefined): string {
  const at = formatClock(ms) === "00:00:00" ? formatMoment(ms) : formatClock(ms);
  return cores === null || cores === undefined ? `${at}, nothing recorded` : `${at}, ${formatCores(cores)} cores busy`;
}

function formatSpanFine(ms: number): string {
  return ms < 1000 ? `${ms} ms` : formatSpan(ms);
}

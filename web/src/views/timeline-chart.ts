/**
 * The chart over time: cores kept busy, whole or stacked by a label, what of it has a stack cut short, the host's
 * utilisation, lost samples, missed ticks, gaps, where recording began again, and the brush. uPlot draws the series;
 * the brush is ours, so that it works by touch, can be adjusted at its edges, and survives a refresh in the middle of a drag.
 *
 * Framework-free: data and colours come in, brushed intervals (ms) go out.
 */

import uPlot from "uplot";
import { formatClock, formatDate } from "../model/units";
import { type ChartData, cutCores, missedMark } from "./timeline-marks";

export interface ChartColors {
  busy: string;
  busyFill: string;
  host: string;
  axis: string;
  grid: string;
  lost: string;
  missed: string;
  gap: string;
  cut: string;
  began: string;
  /** Of the bands, lowest first; the last for what is left over. */
  bands: readonly string[];
  /** Whether ticks are at round times of UTC. */
  utc: boolean;
}

export interface Interval {
  from: number;
  to: number;
}

export interface ChartEvents {
  /** `base`: it is what the brushed one is compared with. */
  onBrush(interval: Interval | null, base: boolean): void;
  /** Bucket under the pointer, or -1. */
  onHover(bucket: number): void;
}

/** Pointer travel below this is a click, not a brush. */
const CLICK_PIXELS = 4;
/** How near to an edge of the brush a drag adjusts it. */
const EDGE_PIXELS = 7;

export class TimelineChart {
  private plot: uPlot | null = null;
  private data: ChartData | null = null;
  private pending: ChartData | null = null;
  private colors: ChartColors | null = null;
  private brush: Interval | null = null;
  /** What the brush is compared with; null where nothing is. */
  private base: Interval | null = null;
  private comparing = false;
  private drag: { anchor: number; startX: number; moved: boolean; pointer: number; base: boolean } | null = null;
  private readonly overlay = document.createElement("div");
  private readonly baseOverlay = document.createElement("div");

  constructor(
    private readonly host: HTMLElement,
    private readonly events: ChartEvents,
  ) {
    this.overlay.className = "brush";
    this.baseOverlay.className = "brush base";
    this.overlay.hidden = this.baseOverlay.hidden = true;
  }

  /** Shows new data; during a drag it waits until the drag ends, so that time stands still under the pointer. */
  update(data: ChartData, colors: ChartColors): void {
    if (this.drag !== null && this.plot !== null) {
      this.pending = data;
      return;
    }
    const bands = this.data?.edges?.length ?? 0;
    this.data = data;
    if (this.plot === null || this.colors !== colors || bands !== (data.edges?.length ?? 0)) {
      this.colors = colors;
      this.plot?.destroy();
      this.plot = this.make(colors);
    } else {
      this.plot.setData(columnsOf(data));
    }
    this.place();
  }

  showBrush(interval: Interval | null): void {
    if (this.drag !== null) return;
    this.brush = interval;
    this.place();
  }

  /** Shows what the brush is compared with, and lets Shift and a drag choose it; null: nothing is compared. */
  showBase(interval: Interval | null): void {
    this.comparing = interval !== null;
    if (this.drag?.base === true) return;
    this.base = interval;
    this.place();
  }

  resize(): void {
    const { clientWidth, clientHeight } = this.host;
    if (this.plot !== null && clientWidth > 0) {
      this.plot.setSize({ width: clientWidth, height: clientHeight });
      this.place();
    }
  }

  destroy(): void {
    this.plot?.destroy();
  }

  private make(colors: ChartColors): uPlot {
    const axisFont = "11px system-ui, sans-serif";
    const axis = {
      stroke: colors.axis,
      font: axisFont,
      grid: { stroke: colors.grid, width: 1 },
      ticks: { show: false },
    };
    const plot = new uPlot(
      {
        width: Math.max(this.host.clientWidth, 50),
        height: this.host.clientHeight,
        ms: 1,
        ...(colors.utc ? { tzDate: (ms: number) => uPlot.tzDate(new Date(ms), "Etc/UTC") } : {}),
        padding: [8, 0, 0, 0],
        legend: { show: false },
        cursor: { drag: { setScale: false, x: false, y: false }, y: false, points: { show: false } },
        scales: {
          x: { range: () => [this.data?.timeline.from_ms ?? 0, this.data?.timeline.to_ms ?? 1] },
          cores: { range: () => [0, this.data?.coresMax ?? 1] },
          share: { range: () => [0, 1] },
        },
        axes: [
          // Room for a clock time with seconds, and a gap to the next.
          { ...axis, size: 24, space: 76, values: (_, ticks, __, ___, step) => ticks.map((ms) => tickText(ms, step)) },
          {
            ...axis,
            scale: "cores",
            size: 40,
            space: 24,
            values: (_, ticks) => ticks.map((n) => String(+n.toFixed(3))),
          },
          {
            ...axis,
            scale: "share",
            side: 1,
            size: 44,
            space: 24,
            grid: { show: false },
            values: (_, ticks) => ticks.map((n) => `${Math.round(n * 100)} %`),
          },
        ],
        series: [
          {},
          { scale: "share", stroke: colors.host, width: 1.25, paths: steps, points: { show: false } },
          ...this.bandSeries(colors),
          { scale: "cores", fill: colors.cut, width: 0, paths: steps, points: { show: false } },
        ],
        hooks: {
          drawClear: [(u) => this.drawGaps(u, colors.gap)],
          draw: [
            (u) => {
              this.drawMissed(u, colors.missed);
              this.drawLost(u, colors.lost);
              this.drawBegun(u, colors.began);
              // The scales are settled only now.
              this.place();
            },
          ],
          setCursor: [(u) => this.hover(u)],
        },
      },
      this.data === null ? [[], [], [], []] : columnsOf(this.data),
      this.host,
    );
    plot.over.append(this.baseOverlay, this.overlay);
    plot.over.addEventListener("pointerdown", (event) => this.down(event));
    plot.over.addEventListener("pointermove", (event) => this.move(event));
    plot.over.addEventListener("pointerup", (event) => this.up(event));
    plot.over.addEventListener("pointercancel", () => this.cancel());
    plot.over.addEventListener("dblclick", () => this.events.onBrush(null, false));
    return plot;
  }

  /** Drawn from the top edge down, each over the one before, so that only its own band of it stays in sight. */
  private bandSeries(colors: ChartColors): uPlot.Series[] {
    const whole = { scale: "cores", width: 1.25, paths: steps, points: { show: false } };
    const edges = this.data?.edges ?? null;
    if (edges === null) return [{ ...whole, stroke: colors.busy, fill: colors.busyFill }];
    const last = colors.bands.length - 1;
    return edges
      .map((_, i) => {
        const fill = colors.bands[i === edges.length - 1 && this.data?.leftOver === true ? last : Math.min(i, last)];
        return { ...whole, width: 0.5, stroke: colors.grid, fill };
      })
      .reverse();
  }

  private hover(u: uPlot): void {
    const timeline = this.data?.timeline;
    const left = u.cursor.left ?? -1;
    if (timeline === undefined || left < 0) {
      this.events.onHover(-1);
      return;
    }
    const bucket = Math.floor((u.posToVal(left, "x") - timeline.from_ms) / timeline.step_ms);
    this.events.onHover(bucket >= 0 && bucket < timeline.buckets.samples.length ? bucket : -1);
  }

  /** Stripes where nothing was recorded. */
  private drawGaps(u: uPlot, color: string): void {
    if (this.data === null) return;
    const { gaps, from_ms, to_ms } = this.data.timeline;
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    for (const gap of gaps) {
      const left = u.valToPos(Math.max(gap.from_ms, from_ms), "x", true);
      const right = u.valToPos(Math.min(gap.to_ms, to_ms), "x", true);
      ctx.rect(left, bbox.top, right - left, bbox.height);
    }
    if (gaps.length > 0) {
      ctx.clip();
      ctx.strokeStyle = color;
      ctx.lineWidth = devicePixelRatio;
      ctx.beginPath();
      const pitch = 7 * devicePixelRatio;
      for (let x = bbox.left - bbox.height; x < bbox.left + bbox.width; x += pitch) {
        ctx.moveTo(x, bbox.top + bbox.height);
        ctx.lineTo(x + bbox.height, bbox.top);
      }
      ctx.stroke();
    }
    ctx.restore();
  }

  /** A mark at the top of each bucket that lost samples, at least 2 px wide so that a single one is seen. */
  private drawLost(u: uPlot, color: string): void {
    if (this.data === null) return;
    const { from_ms, step_ms, buckets } = this.data.timeline;
    u.ctx.save();
    u.ctx.fillStyle = color;
    for (let i = 0; i < buckets.lost.length; i++) {
      if (!(buckets.lost[i] > 0)) continue;
      const left = u.valToPos(from_ms + i * step_ms, "x", true);
      const right = u.valToPos(from_ms + (i + 1) * step_ms, "x", true);
      u.ctx.fillRect(left, u.bbox.top, Math.max(right - left, 2 * devicePixelRatio), 4 * devicePixelRatio);
    }
    u.ctx.restore();
  }

  /** From the top down, the share of each bucket's ticks that was missed: at least 4 px below the mark of losses, and 2 px wide. */
  private drawMissed(u: uPlot, color: string): void {
    if (this.data === null) return;
    const { from_ms, step_ms, buckets } = this.data.timeline;
    u.ctx.save();
    u.ctx.fillStyle = color;
    for (let i = 0; i < buckets.samples.length; i++) {
      const share = missedMark(this.data, i);
      if (share === 0) continue;
      const left = u.valToPos(from_ms + i * step_ms, "x", true);
      const right = u.valToPos(from_ms + (i + 1) * step_ms, "x", true);
      const height = Math.max(share * u.bbox.height, 8 * devicePixelRatio);
      u.ctx.fillRect(left, u.bbox.top, Math.max(right - left, 2 * devicePixelRatio), height);
    }
    u.ctx.restore();
  }

  /** A line where recording began, and where it went on after a gap. */
  private drawBegun(u: uPlot, color: string): void {
    if (this.data === null) return;
    const { ctx, bbox } = u;
    ctx.save();
    ctx.strokeStyle = color;
    ctx.fillStyle = color;
    ctx.lineWidth = devicePixelRatio;
    for (const at of this.data.timeline.began_ms) {
      const x = Math.round(u.valToPos(at, "x", true));
      ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x + 6 * devicePixelRatio, bbox.top + 3.5 * devicePixelRatio);
      ctx.lineTo(x, bbox.top + 7 * devicePixelRatio);
      ctx.fill();
    }
    ctx.restore();
  }

  private down(event: PointerEvent): void {
    if (event.button !== 0 || this.plot === null) return;
    const x = this.offset(event);
    const base = this.comparing && event.shiftKey;
    const grabbed = base ? null : this.edgeNear(x);
    const anchor = grabbed ?? this.timeAt(x);
    this.drag = { anchor, startX: x, moved: grabbed !== null, pointer: event.pointerId, base };
    this.plot.over.setPointerCapture(event.pointerId);
  }

  private move(event: PointerEvent): void {
    if (this.plot === null) return;
    const x = this.offset(event);
    if (this.drag === null) {
      this.plot.over.classList.toggle("on-edge", this.edgeNear(x) !== null);
      return;
    }
    if (!this.drag.moved && Math.abs(x - this.drag.startX) < CLICK_PIXELS) return;
    this.drag.moved = true;
    const dragged = this.interval(this.drag.anchor, this.timeAt(x));
    if (this.drag.base) this.base = dragged;
    else this.brush = dragged;
    this.place();
  }

  private up(event: PointerEvent): void {
    const { drag } = this;
    if (drag === null) return;
    this.drag = null;
    this.plot?.over.releasePointerCapture(event.pointerId);
    const dragged = drag.base ? this.base : this.brush;
    if (drag.moved && dragged !== null && dragged.to > dragged.from) this.events.onBrush(dragged, drag.base);
    this.catchUp();
  }

  private cancel(): void {
    this.drag = null;
    this.catchUp();
  }

  private catchUp(): void {
    const { pending, colors } = this;
    this.pending = null;
    if (pending !== null && colors !== null) this.update(pending, colors);
  }

  /** Whole buckets, so that the flame graph adds up to what the chart shows. */
  private interval(a: number, b: number): Interval {
    const [from, to] = a < b ? [a, b] : [b, a];
    if (this.data === null) return { from, to };
    const { from_ms, step_ms, to_ms } = this.data.timeline;
    return {
      from: Math.max(from_ms, from_ms + Math.round((from - from_ms) / step_ms) * step_ms),
      to: Math.min(to_ms, from_ms + Math.round((to - from_ms) / step_ms) * step_ms),
    };
  }

  private offset(event: PointerEvent): number {
    return this.plot === null ? 0 : event.clientX - this.plot.over.getBoundingClientRect().left;
  }

  private timeAt(x: number): number {
    if (this.plot === null) return 0;
    return this.plot.posToVal(Math.max(0, Math.min(x, this.plot.over.clientWidth)), "x");
  }

  /** The other edge of the brush, when `x` is at one of its edges. */
  private edgeNear(x: number): number | null {
    if (this.plot === null || this.brush === null) return null;
    if (Math.abs(x - this.plot.valToPos(this.brush.from, "x")) <= EDGE_PIXELS) return this.brush.to;
    if (Math.abs(x - this.plot.valToPos(this.brush.to, "x")) <= EDGE_PIXELS) return this.brush.from;
    return null;
  }

  private place(): void {
    this.placeOver(this.brush, this.overlay);
    this.placeOver(this.base, this.baseOverlay);
  }

  private placeOver(interval: Interval | null, overlay: HTMLElement): void {
    const { plot, data } = this;
    const whole = data?.timeline;
    // The first bucket may begin a little before the range: that much of an earlier span is not worth a mark.
    const first = whole === undefined ? 0 : whole.from_ms + whole.step_ms;
    const outside = whole === undefined || interval === null || interval.to < first || interval.from >= whole.to_ms;
    overlay.hidden = plot === null || outside;
    if (plot === null || outside) return;
    const limit = plot.over.clientWidth;
    const left = Math.max(-2, Math.min(plot.valToPos(interval.from, "x"), limit));
    const right = Math.max(0, Math.min(plot.valToPos(interval.to, "x"), limit + 2));
    overlay.style.left = `${left}px`;
    overlay.style.width = `${Math.max(right - left, 1)}px`;
  }
}

const steps: uPlot.Series.PathBuilder = uPlot.paths.stepped?.({ align: 1 }) ?? (() => null);

/**
 * Each bucket's start and its end, a millisecond early, so that every bucket is as wide as the others, the last before a gap
 * too; then the series in their order.
 */
function columnsOf({ timeline: { from_ms, step_ms, buckets }, edges }: ChartData): uPlot.AlignedData {
  const times = buckets.samples.flatMap((_, i) => [from_ms + i * step_ms, from_ms + (i + 1) * step_ms - 1]);
  const closed = (column: (number | null)[]) => column.flatMap((value) => [value, value]);
  const cut = buckets.samples.map((_, i) => cutCores(buckets, i));
  const stacked = edges === null ? [buckets.busy_cores] : [...edges].reverse();
  return [times, closed(buckets.utilisation), ...stacked.map(closed), closed(cut)];
}

/** Clock times; days where the ticks are that far apart, and at midnight. */
function tickText(ms: number, step: number): string {
  const midnight = formatClock(ms) === "00:00:00";
  if (step >= 86_400_000 || midnight) return formatDate(ms).slice(5);
  return step < 60_000 ? formatClock(ms) : formatClock(ms).slice(0, 5);
}

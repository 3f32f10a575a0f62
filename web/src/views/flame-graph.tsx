/** The flame graph on the page: the canvas in its scroller, pointer and keyboard, tooltip, legend. */

import { effect, useComputed, useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { KIND_COUNT } from "../model/call-tree";
import { KIND_LABELS, SHADES } from "../model/color";
import { FlameCanvas, type FlameScene, ROW_HEIGHT } from "../render/flame-canvas";
import { flame, focus, found, hovered, inks, select, selected, theme, tree, view, zoomTo } from "../state/store";
import { factsOf, Tooltip } from "./details";
import { setFlameWidth } from "./flame-keys";

/** Ancestors of the zoomed frame that stay in sight. */
const ANCESTORS_SHOWN = 3;
const TOOLTIP_OFFSET = 14;

export function FlameGraph() {
  const scroller = useRef<HTMLDivElement>(null);
  const spacer = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const ring = useRef<HTMLDivElement>(null);
  const tooltip = useRef<HTMLDivElement>(null);
  const pointer = useSignal<{ x: number; y: number } | null>(null);

  useEffect(() => {
    const parts = { scroller: scroller.current, spacer: spacer.current, canvas: canvas.current, ring: ring.current };
    if (parts.scroller === null || parts.spacer === null || parts.canvas === null || parts.ring === null) return;
    return mountFlame({ ...parts } as Parts, pointer);
  }, [pointer]);

  const facts = useComputed(() => {
    const at = tree.value;
    const answer = flame.value;
    if (at === null || answer === null || hovered.value < 0) return null;
    return factsOf(at, hovered.value, focus.value.node, answer.nanosPerSample);
  });
  // Before the browser paints, so that it never shows in the corner first.
  useLayoutEffect(() => placeTooltip(tooltip.current, pointer.value, scroller.current));

  return (
    <div class="flame">
      <div class="flame-scroller" ref={scroller}>
        <div class="flame-spacer" ref={spacer} />
        <div class="flame-sticky">
          {/* biome-ignore lint/a11y/noInteractiveElementToNoninteractiveRole: it takes keys like an application does */}
          <canvas
            ref={canvas}
            tabIndex={0}
            role="application"
            aria-roledescription="flame graph"
            aria-label="Flame graph. Arrow keys choose a frame, Enter zooms in, Escape zooms out. The Table tab has the same data."
          />
          <div class="hover-ring" ref={ring} hidden />
        </div>
      </div>
      {facts.value !== null && pointer.value !== null && (
        <div class="tooltip" ref={tooltip} role="presentation">
          <Tooltip facts={facts.value} />
        </div>
      )}
    </div>
  );
}

interface Parts {
  scroller: HTMLDivElement;
  spacer: HTMLDivElement;
  canvas: HTMLCanvasElement;
  ring: HTMLDivElement;
}

/** Joins signals, canvas and pointer; returns how to take them apart. */
function mountFlame(parts: Parts, pointer: { value: { x: number; y: number } | null }): () => void {
  const { scroller, spacer, canvas, ring } = parts;
  const drawing = new FlameCanvas(canvas);
  let scene: FlameScene | null = null;
  let frame = 0;
  let shown = { tree: scene as unknown, focus: -1, rootBelow: false };

  const schedule = (): void => {
    if (frame === 0) frame = requestAnimationFrame(paint);
  };
  const paint = (): void => {
    frame = 0;
    if (scene === null) return;
    spacer.style.height = `${drawing.contentHeight(scene)}px`;
    settleScroll(scene);
    performance.mark("draw:start");
    drawing.draw(scene, scroller.scrollTop);
    performance.measure("draw", "draw:start");
    placeRing();
  };
  /** After a zoom or a turn, the zoomed frame is brought near its edge; a refresh leaves the scroll alone. */
  const settleScroll = (now: FlameScene): void => {
    if (shown.focus === now.focus && shown.rootBelow === now.rootBelow && shown.tree !== null) {
      revealSelected(now);
      return;
    }
    const first = shown.tree === null && now.focus === 0;
    shown = { tree: now.tree, focus: now.focus, rootBelow: now.rootBelow };
    const row = Math.max(0, now.tree.depth[now.focus] - ANCESTORS_SHOWN) * ROW_HEIGHT;
    const top = now.rootBelow ? drawing.contentHeight(now) - scroller.clientHeight - row : row;
    if (!first || now.rootBelow) scroller.scrollTop = top;
    revealSelected(now);
  };
  let revealed = -1;
  const revealSelected = (now: FlameScene): void => {
    if (now.selected === revealed) return;
    revealed = now.selected;
    const box = now.selected < 0 ? null : drawing.boxOf(now, scroller.scrollTop, now.selected);
    if (box === null) return;
    if (box.y < 0) scroller.scrollTop += box.y - 2 * ROW_HEIGHT;
    else if (box.y + box.height > scroller.clientHeight) {
      scroller.scrollTop += box.y + 3 * ROW_HEIGHT - scroller.clientHeight;
    }
  };
  const placeRing = (): void => {
    const box = scene === null || hovered.peek() < 0 ? null : drawing.boxOf(scene, scroller.scrollTop, hovered.peek());
    ring.hidden = box === null;
    if (box === null) return;
    ring.style.transform = `translate(${box.x}px, ${box.y}px)`;
    ring.style.width = `${Math.max(box.width - 1, 2)}px`;
    ring.style.height = `${box.height}px`;
  };
  const resize = (): void => {
    const width = scroller.clientWidth;
    const height = scroller.clientHeight;
    if (width === 0 || height === 0) return;
    drawing.resize(width, height, devicePixelRatio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    setFlameWidth(width);
    // At once, not in the next frame: a resized canvas is blank until it is drawn.
    if (scene !== null) paint();
  };
  const hit = (event: MouseEvent): number => {
    const bounds = canvas.getBoundingClientRect();
    if (scene === null) return -1;
    return drawing.nodeAt(scene, scroller.scrollTop, event.clientX - bounds.left, event.clientY - bounds.top);
  };
  const onMove = (event: PointerEvent): void => {
    hovered.value = hit(event);
    pointer.value = event.pointerType === "mouse" ? { x: event.clientX, y: event.clientY } : null;
    canvas.style.cursor = hovered.peek() >= 0 ? "pointer" : "default";
  };
  const onLeave = (): void => {
    hovered.value = -1;
    pointer.value = null;
  };
  const onClick = (event: MouseEvent): void => {
    const node = hit(event);
    if (node < 0) return;
    select(-1);
    zoomTo(node);
  };
  const onScroll = (): void => {
    hovered.value = -1;
    pointer.value = null;
    schedule();
  };

  const stopScene = effect(() => {
    const at = tree.value;
    if (at === null) return;
    scene = {
      tree: at,
      inks: inks.value,
      theme: theme.value,
      focus: focus.value.node,
      rootBelow: view.value.rootBelow,
      matches: found.value?.frames ?? null,
      selected: selected.value,
    };
    schedule();
  });
  const stopRing = effect(() => {
    void hovered.value;
    placeRing();
  });
  const watcher = new ResizeObserver(resize);
  watcher.observe(scroller);
  const stopRatio = onRatioChange(resize);
  canvas.addEventListener("pointermove", onMove);
  canvas.addEventListener("pointerleave", onLeave);
  canvas.addEventListener("click", onClick);
  scroller.addEventListener("scroll", onScroll, { passive: true });
  return () => {
    cancelAnimationFrame(frame);
    stopScene();
    stopRing();
    stopRatio();
    watcher.disconnect();
    canvas.removeEventListener("pointermove", onMove);
    canvas.removeEventListener("pointerleave", onLeave);
    canvas.removeEventListener("click", onClick);
    scroller.removeEventListener("scroll", onScroll);
    hovered.value = -1;
  };
}

/** Calls back when the window moves to a screen of another density, or the page is zoomed. */
function onRatioChange(callback: () => void): () => void {
  let query: MediaQueryList;
  const watch = (): void => {
    query = matchMedia(`(resolution: ${devicePixelRatio}dppx)`);
    query.addEventListener("change", changed, { once: true });
  };
  const changed = (): void => {
    callback();
    watch();
  };
  watch();
  return () => query.removeEventListener("change", changed);
}

/** Beside the pointer, inside the window. */
function placeTooltip(
  element: HTMLElement | null,
  at: { x: number; y: number } | null,
  area: HTMLElement | null,
): void {
  if (element === null || at === null || area === null) return;
  const { offsetWidth, offsetHeight } = element;
  const beyondRight = at.x + TOOLTIP_OFFSET + offsetWidth > innerWidth - 8;
  const beyondBottom = at.y + TOOLTIP_OFFSET + offsetHeight > innerHeight - 8;
  const x = beyondRight ? Math.max(8, at.x - TOOLTIP_OFFSET - offsetWidth) : at.x + TOOLTIP_OFFSET;
  const y = beyondBottom ? Math.max(8, at.y - TOOLTIP_OFFSET - offsetHeight) : at.y + TOOLTIP_OFFSET;
  element.style.transform = `translate(${x}px, ${y}px)`;
}

/** What the colours mean; only kinds that occur. */
export function Legend() {
  const kinds = useComputed(() => {
    const present = new Uint8Array(KIND_COUNT);
    for (const kind of tree.value?.frames.kind ?? []) if (kind < KIND_COUNT) present[kind] = 1;
    return KIND_LABELS.map((label, kind) => ({ label, kind })).filter(({ kind }) => kind > 1 && present[kind] === 1);
  });
  return (
    <ul class="legend" aria-label="Colours">
      {kinds.value.map(({ label, kind }) => (
        <li key={kind}>
          <span
            class={label === "cut short" ? "swatch hatched" : "swatch"}
            style={{ backgroundColor: theme.value.inks[kind * SHADES].fill }}
          />
          {label}
        </li>
      ))}
    </ul>
  );
}

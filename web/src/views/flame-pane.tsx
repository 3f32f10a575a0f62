/** A flame graph on the page: the canvas in its scroller, minimap, pointer, tooltip. What it shows is a `Pane`'s affair. */

import { effect, type Signal, useComputed, useSignal } from "@preact/signals";
import { useLayoutEffect, useRef } from "preact/hooks";
import { FlameCanvas, type FlameScene, ROW_HEIGHT } from "../render/flame-canvas";
import { Minimap, type MinimapPart } from "../render/minimap";
import { currentPane, factsOf, type Pane } from "../state/pane";
import { theme } from "../state/theme";
import { Tooltip } from "./details";
import { setFlameWidth } from "./flame-keys";
import { openFrameMenu } from "./frame-menu";

/** Ancestors of the zoomed frame that stay in sight. */
const ANCESTORS_SHOWN = 3;
const TOOLTIP_OFFSET = 14;
const MINIMAP_WIDTH = 56;
/** A graph this many times as tall as what is in sight gets a minimap. */
const TALL = 1.6;
/** A graph lower than this (px) has no use for one: its rows would be thinner than they can be told apart. */
const MAPPED_HEIGHT = 200;

export function FlamePane({ pane }: { pane: Pane }) {
  const refs = {
    scroller: useRef<HTMLDivElement>(null),
    spacer: useRef<HTMLDivElement>(null),
    canvas: useRef<HTMLCanvasElement>(null),
    ring: useRef<HTMLDivElement>(null),
    map: useRef<HTMLCanvasElement>(null),
  };
  const tooltip = useRef<HTMLDivElement>(null);
  const pointer = useSignal<{ x: number; y: number } | null>(null);

  // With the first layout: an effect after the paint would show an empty canvas for a frame or two.
  useLayoutEffect(() => {
    const parts = Object.fromEntries(Object.entries(refs).map(([name, ref]) => [name, ref.current]));
    if (Object.values(parts).some((part) => part === null)) return;
    return mountFlame(pane, parts as unknown as Parts, pointer);
  }, [pane, pointer]);

  const facts = useComputed(() => {
    void pane.tree.value;
    void pane.focus.value;
    return factsOf(pane, pane.hovered.value);
  });
  // Before the browser paints, so that it never shows in the corner first.
  useLayoutEffect(() => placeTooltip(tooltip.current, pointer.value));

  return (
    <div class="flame">
      <div class="flame-scroller" ref={refs.scroller}>
        <div class="flame-spacer" ref={refs.spacer} />
        <div class="flame-sticky">
          {/* biome-ignore lint/a11y/noInteractiveElementToNoninteractiveRole: it takes keys like an application does */}
          <canvas
            ref={refs.canvas}
            tabIndex={0}
            role="application"
            aria-roledescription="flame graph"
            aria-label={`${pane.label}. Arrow keys choose a frame, Enter opens it, m lists what can be done. The Tree tab has the same data as a table.`}
          />
          <div class="hover-ring" ref={refs.ring} hidden />
        </div>
      </div>
      {/* For the pointer; the keyboard scrolls the graph itself. */}
      <div class="minimap" aria-hidden="true" hidden>
        <canvas ref={refs.map} />
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
  map: HTMLCanvasElement;
}

/** Joins signals, canvas and pointer; returns how to take them apart. */
function mountFlame(pane: Pane, parts: Parts, pointer: Signal<{ x: number; y: number } | null>): () => void {
  const { scroller, spacer, canvas, ring, map } = parts;
  const drawing = new FlameCanvas(canvas);
  const minimap = new Minimap(map);
  let scene: FlameScene | null = null;
  let frame = 0;
  let shown = { tree: scene as unknown, focus: -1, rootBelow: false };

  const schedule = (): void => {
    if (frame === 0) frame = requestAnimationFrame(paint);
  };
  const part = (now: FlameScene): MinimapPart => ({
    scrollTop: scroller.scrollTop,
    visible: scroller.clientHeight,
    content: drawing.contentHeight(now),
  });
  const paint = (): void => {
    cancelAnimationFrame(frame);
    frame = 0;
    if (scene === null) return;
    spacer.style.height = `${drawing.contentHeight(scene)}px`;
    placeMap(scene);
    settleScroll(scene);
    performance.mark("draw:start");
    drawing.draw(scene, scroller.scrollTop);
    performance.measure("draw", "draw:start");
    if (map.parentElement?.hidden === false) minimap.draw(scene, part(scene));
    rehit();
    placeRing();
  };
  /**
   * A refresh, a zoom or a scroll puts other frames under a pointer that rests: what is said about it, and what the keys act
   * on, must be those. Done with the new scene, not with its drawing: a key may come between the two.
   */
  let under: { x: number; y: number } | null = null;
  const rehit = (): void => {
    if (scene === null || under === null) return;
    pane.hovered.value = drawing.nodeAt(scene, scroller.scrollTop, under.x, under.y);
  };
  /** The minimap comes and goes with the height; the graph makes room for it. */
  const placeMap = (now: FlameScene): void => {
    const tall =
      pane.mapped &&
      scroller.clientHeight >= MAPPED_HEIGHT &&
      drawing.contentHeight(now) > scroller.clientHeight * TALL &&
      scroller.parentElement !== null;
    const wanted = tall && (scroller.parentElement?.clientWidth ?? 0) > 600;
    const frame = map.parentElement;
    if (frame === null || frame.hidden === !wanted) return;
    frame.hidden = !wanted;
    scroller.style.right = wanted ? `${MINIMAP_WIDTH}px` : "";
    fit();
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
    const node = pane.hovered.peek();
    const box = scene === null || node < 0 ? null : drawing.boxOf(scene, scroller.scrollTop, node);
    ring.hidden = box === null;
    if (box === null) return;
    ring.style.transform = `translate(${box.x}px, ${box.y}px)`;
    ring.style.width = `${Math.max(box.width - 1, 2)}px`;
    ring.style.height = `${box.height}px`;
  };
  let sized = "";
  /** Makes the canvas as large as its place; whether that changed it, and it is blank now. */
  const fit = (): boolean => {
    const width = scroller.clientWidth;
    const height = scroller.clientHeight;
    const size = `${width} ${height} ${devicePixelRatio}`;
    if (width === 0 || height === 0 || size === sized) return false;
    sized = size;
    drawing.resize(width, height, devicePixelRatio);
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
    minimap.resize(MINIMAP_WIDTH, height, devicePixelRatio);
    setFlameWidth(width);
    return true;
  };
  const resize = (): void => {
    // At once, not in the next frame: a resized canvas is blank until it is drawn.
    if (fit() && scene !== null) paint();
  };
  const hit = (event: MouseEvent): number => {
    const bounds = canvas.getBoundingClientRect();
    if (scene === null) return -1;
    return drawing.nodeAt(scene, scroller.scrollTop, event.clientX - bounds.left, event.clientY - bounds.top);
  };
  const onMove = (event: PointerEvent): void => {
    currentPane.value = pane;
    const bounds = canvas.getBoundingClientRect();
    under = { x: event.clientX - bounds.left, y: event.clientY - bounds.top };
    pane.hovered.value = hit(event);
    pointer.value = event.pointerType === "mouse" ? { x: event.clientX, y: event.clientY } : null;
    canvas.style.cursor = pane.hovered.peek() >= 0 ? "pointer" : "default";
  };
  const onLeave = (): void => {
    under = null;
    pane.hovered.value = -1;
    pointer.value = null;
  };
  const onClick = (event: MouseEvent): void => {
    const node = hit(event);
    if (node >= 0) pane.open(node);
  };
  const onContextMenu = (event: MouseEvent): void => {
    const node = hit(event);
    if (node < 0) return;
    event.preventDefault();
    pane.choose(node);
    onLeave();
    openFrameMenu(pane, node, event.clientX, event.clientY);
  };
  const onFocus = (): void => {
    currentPane.value = pane;
  };
  const onScroll = (): void => {
    pointer.value = null;
    rehit();
    schedule();
  };
  const onMap = (event: PointerEvent): void => {
    if (scene === null || (event.type === "pointermove" && event.buttons === 0)) return;
    map.setPointerCapture(event.pointerId);
    scroller.scrollTop = minimap.scrollFor(event.clientY - map.getBoundingClientRect().top, part(scene));
  };

  const stopScene = effect(() => {
    const at = pane.tree.value;
    if (at === null) return;
    scene = {
      tree: at,
      inks: pane.inks.value,
      nodeInks: pane.nodeInks?.value ?? null,
      theme: theme.value,
      focus: pane.focus.value,
      rootBelow: pane.rootBelow.value,
      matches: pane.matches.value,
      selected: pane.selected.value,
    };
    if (under === null) pane.hovered.value = -1;
    else rehit();
    schedule();
  });
  const stopRing = effect(() => {
    void pane.hovered.value;
    placeRing();
  });
  resize();
  const watcher = new ResizeObserver(resize);
  watcher.observe(scroller);
  const stopRatio = onRatioChange(resize);
  const ended = new AbortController();
  const until = { signal: ended.signal };
  canvas.addEventListener("pointermove", onMove, until);
  canvas.addEventListener("pointerleave", onLeave, until);
  canvas.addEventListener("click", onClick, until);
  canvas.addEventListener("contextmenu", onContextMenu, until);
  canvas.addEventListener("focus", onFocus, until);
  scroller.addEventListener("scroll", onScroll, { passive: true, ...until });
  map.addEventListener("pointerdown", onMap, until);
  map.addEventListener("pointermove", onMap, until);
  return () => {
    cancelAnimationFrame(frame);
    stopScene();
    stopRing();
    stopRatio();
    watcher.disconnect();
    ended.abort();
    pane.hovered.value = -1;
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
function placeTooltip(element: HTMLElement | null, at: { x: number; y: number } | null): void {
  if (element === null || at === null) return;
  const { offsetWidth, offsetHeight } = element;
  const beyondRight = at.x + TOOLTIP_OFFSET + offsetWidth > innerWidth - 8;
  const beyondBottom = at.y + TOOLTIP_OFFSET + offsetHeight > innerHeight - 8;
  const x = beyondRight ? Math.max(8, at.x - TOOLTIP_OFFSET - offsetWidth) : at.x + TOOLTIP_OFFSET;
  const y = beyondBottom ? Math.max(8, at.y - TOOLTIP_OFFSET - offsetHeight) : at.y + TOOLTIP_OFFSET;
  element.style.transform = `translate(${x}px, ${y}px)`;
}

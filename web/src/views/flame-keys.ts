/** The keyboard, for the whole page. Never active in inputs; arrows and Enter only where they mean nothing else. */

import { children, isWithin } from "../model/call-tree";
import { focusThatShows } from "../model/flame-rows";
import { nextMatch } from "../model/search";
import { focus, found, select, selected, tree, zoomOutWholly, zoomTo } from "../state/flame";
import { currentPane, factsOf, mainPane, type Pane } from "../state/pane";
import { announcement, navigate, view } from "../state/store";
import { nextTheme } from "../state/theme";
import { TABS } from "../state/view";
import { spoken } from "./details";
import { actionsFor } from "./frame-actions";
import { openFrameMenu } from "./frame-menu";
import { openHelp } from "./help";
import { toggleLive } from "./top-bar";

/** A frame that a search stepped to is at least this wide, in pixels. */
const SEEN_WIDTH = 40;
let flameWidth = 1000;

export function setFlameWidth(width: number): void {
  flameWidth = width;
}

export function focusSearch(): void {
  const input = document.querySelector<HTMLInputElement>("#search");
  input?.focus();
  input?.select();
}

/** From the search box into the graph. */
export function leaveSearch(): void {
  document.querySelector<HTMLCanvasElement>(".flame-sticky canvas")?.focus({ preventScroll: true });
}

/** Chooses a frame and tells everybody. */
function choose(pane: Pane, node: number): void {
  if (node < 0) return;
  pane.choose(node);
  const facts = factsOf(pane, node);
  if (facts !== null) announcement.value = spoken(facts);
}

/** Goes to the next match (1) or the one before (-1), zooming so that it can be seen. */
export function stepMatch(step: 1 | -1): void {
  const at = tree.peek();
  const result = found.peek();
  if (at === null || result === null || result.nodes.length === 0) return;
  const { tab } = view.peek();
  if (tab !== "flame" && tab !== "tree") navigate({ tab: "flame" });
  const from = selected.peek();
  const node = nextMatch(result.nodes, from < 0 && step === 1 ? 0 : Math.max(from, 0), step);
  const { node: zoomed } = focus.peek();
  const seen = isWithin(at, node, zoomed) && (at.total[node] / at.total[zoomed]) * flameWidth >= SEEN_WIDTH;
  if (!seen && tab !== "tree") zoomTo(focusThatShows(at, node, flameWidth, SEEN_WIDTH));
  select(node);
  choose(mainPane, node);
}

/** Installs the keys for as long as the page lives. */
export function installKeys(): void {
  window.addEventListener("keydown", (event) => {
    const target = event.target as Element;
    if (event.key === "f" && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey) {
      // A second Ctrl+F is the browser's own search.
      if (target.id === "search") return;
      event.preventDefault();
      focusSearch();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
    if (target.closest("input, textarea, select, [contenteditable], dialog[open], [role=menu]") !== null) return;
    const act = anywhere(event.key) ?? onGraph(event, target);
    if (act === null) return;
    event.preventDefault();
    act();
  });
}

function anywhere(key: string): (() => void) | null {
  const tab = TABS[Number(key) - 1];
  if (tab !== undefined) {
    return () => {
      navigate({ tab });
      // Into the graph, so that arrows and letters are about it at once.
      if (tab === "flame") requestAnimationFrame(leaveSearch);
    };
  }
  switch (key) {
    case "/":
      return focusSearch;
    case "?":
      return openHelp;
    case "n":
      return () => stepMatch(1);
    case "N":
      return () => stepMatch(-1);
    case "0":
      return zoomOutWholly;
    case "i":
      return () => navigate({ rootBelow: !view.peek().rootBelow });
    case "l":
      return toggleLive;
    case "t":
      return nextTheme;
    case "d":
      return () => navigate({ tab: "diff" });
    default:
      return null;
  }
}

const GRAPH_TABS: readonly string[] = ["flame", "sandwich", "diff"];

function onGraph(event: KeyboardEvent, target: Element): (() => void) | null {
  const onCanvas = target instanceof HTMLCanvasElement;
  const { tab } = view.peek();
  if (!GRAPH_TABS.includes(tab)) return null;
  const pane = currentPane.peek();
  if (pane.tree.peek() === null) return null;
  // A letter is about the frame under the pointer also when a button has the focus still; Enter and arrows are the button's.
  const pointedAt = pane.hovered.peek() >= 0 && event.key.length === 1 && event.key !== " ";
  if (!(onCanvas || target === document.body || pointedAt)) return null;
  return onPane(pane, event.key, onCanvas ? target : document.querySelector(".flame-sticky canvas"));
}

function onPane(pane: Pane, key: string, canvas: Element | null): (() => void) | null {
  const at = pane.tree.peek();
  if (at === null) return null;
  const current = pane.selected.peek() >= 0 ? pane.selected.peek() : pane.focus.peek();
  const pointed = pane.hovered.peek() >= 0 ? pane.hovered.peek() : current;
  const below = pane.rootBelow.peek();
  switch (key) {
    case below ? "ArrowUp" : "ArrowDown": {
      const biggest = children(at, current).reduce(
        (best, child) => (best < 0 || at.total[child] > at.total[best] ? child : best),
        -1,
      );
      return () => choose(pane, biggest);
    }
    case below ? "ArrowDown" : "ArrowUp":
      return () => choose(pane, at.parent[current]);
    case "ArrowLeft":
    case "ArrowRight":
      return () => {
        if (at.parent[current] < 0) return;
        const siblings = children(at, at.parent[current]);
        choose(pane, siblings[siblings.indexOf(current) + (key === "ArrowLeft" ? -1 : 1)] ?? -1);
      };
    case "Enter":
      return () => {
        if (pane.selected.peek() >= 0) pane.open(pane.selected.peek());
      };
    case "Backspace":
      return pane.leave;
    case "Escape":
      return () => {
        if (pane.selected.peek() >= 0) pane.choose(-1);
        else pane.leave();
      };
    case "m":
    case "ContextMenu":
      return () => {
        const box = canvas?.getBoundingClientRect();
        openFrameMenu(pane, pointed, (box?.left ?? 0) + 40, (box?.top ?? 0) + 40);
      };
    default: {
      const action = actionsFor(pane, pointed).find((one) => one.key === key);
      return action === undefined ? null : action.run;
    }
  }
}

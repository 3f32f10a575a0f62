/** The menu of one frame: by a right click, by `m`, or by the button in the details line. */

import { signal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { nodeName } from "../model/call-tree";
import type { Pane } from "../state/pane";
import { actionsFor } from "./frame-actions";

interface Opened {
  pane: Pane;
  node: number;
  x: number;
  y: number;
  /** Where the focus goes back to. */
  from: Element | null;
}

const opened = signal<Opened | null>(null);

export function openFrameMenu(pane: Pane, node: number, x: number, y: number): void {
  opened.value = { pane, node, x, y, from: document.activeElement };
}

function close(): void {
  const from = opened.peek()?.from;
  opened.value = null;
  if (from instanceof HTMLElement) from.focus({ preventScroll: true });
}

export function FrameMenu() {
  const menu = useRef<HTMLDivElement>(null);
  const at = opened.value;
  useLayoutEffect(() => {
    const element = menu.current;
    if (element === null || at === null) return;
    const x = Math.max(8, Math.min(at.x, innerWidth - element.offsetWidth - 8));
    const y = Math.max(8, Math.min(at.y, innerHeight - element.offsetHeight - 8));
    element.style.transform = `translate(${x}px, ${y}px)`;
    element.querySelector<HTMLElement>("button")?.focus();
  }, [at]);
  useEffect(() => {
    if (at === null) return;
    const outside = (event: Event) => {
      if (!menu.current?.contains(event.target as Node)) close();
    };
    document.addEventListener("pointerdown", outside);
    addEventListener("resize", close);
    return () => {
      document.removeEventListener("pointerdown", outside);
      removeEventListener("resize", close);
    };
  }, [at]);
  if (at === null) return null;
  const tree = at.pane.tree.value;
  const actions = actionsFor(at.pane, at.node);
  const step = (event: KeyboardEvent): void => {
    const buttons = [...(menu.current?.querySelectorAll("button") ?? [])];
    const now = buttons.indexOf(document.activeElement as HTMLButtonElement);
    const to = { ArrowDown: now + 1, ArrowUp: now - 1, Home: 0, End: -1 }[event.key];
    const action = actions.find(({ key }) => key === event.key && key !== "Enter");
    if (to !== undefined) buttons[(to + buttons.length) % buttons.length]?.focus();
    else if (event.key === "Escape" || event.key === "Tab") close();
    else if (action !== undefined) {
      close();
      action.run();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  };
  return (
    <div class="frame-menu menu-panel" role="menu" aria-label="Frame" tabIndex={-1} ref={menu} onKeyDown={step}>
      <p class="menu-title">{tree === null ? "" : nodeName(tree, at.node)}</p>
      {actions.map((action) => (
        <button
          type="button"
          role="menuitem"
          key={action.label}
          onClick={() => {
            close();
            action.run();
          }}
        >
          {action.label} <kbd>{action.key}</kbd>
        </button>
      ))}
    </div>
  );
}

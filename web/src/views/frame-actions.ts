/** What can be done with a frame, once: for the menu, the keys and the help. */

import { FrameKind, nodeName, pathTo } from "../model/call-tree";
import { formatFunction, functionOf, isCode } from "../model/function";
import { toggleValue } from "../model/selector";
import { isOwn } from "../model/tidy";
import type { Pane } from "../state/pane";
import { announcement, flame, navigate, view } from "../state/store";

export interface FrameAction {
  label: string;
  key: string;
  run(): void;
}

/** In the order of the menu. */
export function actionsFor(pane: Pane, node: number): FrameAction[] {
  const at = pane.tree.peek();
  if (at === null || node < 0) return [];
  const frame = at.frame[node];
  const name = nodeName(at, node);
  const chosen = functionOf(at.frames, frame);
  const actions: FrameAction[] = [];
  if (pane.id === "main") actions.push({ label: "Zoom in", key: "Enter", run: () => pane.open(node) });
  if (isCode(chosen.kind)) {
    const { tidy } = view.peek();
    actions.push(
      {
        label: "Callers and callees",
        key: "f",
        run: () => navigate({ tab: "sandwich", fn: formatFunction(chosen) }),
      },
      { label: "Source and assembly", key: "a", run: () => showCode(pane, node) },
      {
        label: "Show in the table",
        key: "T",
        run: () => navigate({ tab: "table", fn: formatFunction(chosen) }),
      },
      { label: "Highlight this function", key: "s", run: () => navigate({ search: `"${name}"` }) },
      {
        label: "Hide this function",
        key: "h",
        run: () => navigate({ tidy: { ...tidy, hide: added(tidy.hide, `"${name}"`) } }),
      },
      {
        label: "Collapse what is below it",
        key: "z",
        run: () => navigate({ tidy: { ...tidy, fold: added(tidy.fold, `"${name}"`) } }),
      },
    );
  }
  if (isOwn(at, node)) {
    const { tidy, filter } = view.peek();
    const exe = flame.peek()?.own?.exe ?? "";
    actions.push({ label: "Show its frames", key: "z", run: () => navigate({ tidy: { ...tidy, own: false } }) });
    const out = () => navigate({ filter: toggleValue(filter, "exe", exe, "excluded"), zoom: null });
    if (exe !== "") actions.push({ label: "Leave the profiler out", key: "x", run: out });
  } else if (chosen.kind === FrameKind.Process) {
    const { group } = view.peek();
    const label = group !== null && at.depth[node] === 1 ? group : "comm";
    const value = name === `[no ${label}]` ? "" : name;
    const what = label === "comm" ? "process" : label;
    const filter = (how: "included" | "excluded") => () =>
      navigate({ filter: toggleValue(view.peek().filter, label, value, how), zoom: null });
    actions.push({ label: `Only this ${what}`, key: "o", run: filter("included") });
    actions.push({ label: `All but this ${what}`, key: "x", run: filter("excluded") });
  }
  actions.push({ label: "Copy the name", key: "c", run: () => void copy(name, `Copied ${name}`) });
  actions.push({ label: "Copy the stack", key: "C", run: () => void copy(stackText(pane, node), "Copied the stack") });
  return actions;
}

/** The source and assembly of a node's function, at its line. */
export function showCode(pane: Pane, node: number): void {
  const at = pane.tree.peek();
  if (at === null || node < 0) return;
  navigate({ tab: "source", fn: formatFunction(functionOf(at.frames, at.frame[node])), line: null });
}

function added(rules: readonly string[], rule: string): readonly string[] {
  return rules.includes(rule) ? rules : [...rules, rule];
}

/** Outermost frame first, each with its source and binary where they are known. */
function stackText(pane: Pane, node: number): string {
  const at = pane.tree.peek();
  if (at === null) return "";
  return pathTo(at, node)
    .filter((i) => at.frames.kind[at.frame[i]] !== FrameKind.Root)
    .map((i) => {
      const { name, binary, file } = functionOf(at.frames, at.frame[i]);
      const line = at.frames.line[at.frame[i]];
      const where = file === null ? binary : `${file}${line > 0 ? `:${line}` : ""}`;
      return where === null ? name : `${name} (${where})`;
    })
    .join("\n");
}

/** Copies, and says so; `false`, and other words, when the browser did not copy. */
export async function copy(text: string, said: string): Promise<boolean> {
  const done = await intoClipboard(text);
  announcement.value = done ? said : "The browser did not let the page copy. Select the text and copy it by hand.";
  return done;
}

/** On a page that came by plain HTTP from another host browsers have no `navigator.clipboard`; their old command still copies what is selected. */
async function intoClipboard(text: string): Promise<boolean> {
  try {
    if (navigator.clipboard !== undefined) {
      await navigator.clipboard.writeText(text);
      return true;
    }
  } catch {
    // Refused: the old command may be allowed all the same.
  }
  const focused = document.activeElement;
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return done;
}

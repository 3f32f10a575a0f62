/**
 * The call tree as an outline with numbers: the flame graph for keyboard and screen reader, and for whoever prefers rows.
 *
 * It shares the chosen frame and the search with the graph. The pattern is the treegrid of the ARIA practices
 * (<https://www.w3.org/WAI/ARIA/apg/patterns/treegrid/>), with rows as the unit and `aria-activedescendant`.
 */

import { useComputed, useSignal, useSignalEffect } from "@preact/signals";
import { useRef } from "preact/hooks";
import { type CallTree, children, describeFrame, isWithin } from "../model/call-tree";
import { carryOver, firstOpen, revealed, visibleRows } from "../model/tree-rows";
import { baseName, formatAmount, formatNanos, formatShare, NO_MEASURE } from "../model/units";
import { coloring, focus, found, select, selected, tree, zoomTo } from "../state/flame";
import { factsOf, mainPane } from "../state/pane";
import { announcement, flame, navigate } from "../state/store";
import { theme } from "../state/theme";
import { spoken } from "./details";
import { actionsFor } from "./frame-actions";
import { openFrameMenu } from "./frame-menu";
import { reveal, useSight } from "./virtual-rows";

const ROW = 24;
const HEAD = 28;

export function TreeGrid() {
  const scroller = useRef<HTMLDivElement>(null);
  const state = useSignal<{ tree: CallTree; open: ReadonlySet<number> } | null>(null);
  useSignalEffect(() => {
    const now = tree.value;
    const old = state.peek();
    if (now === null || old?.tree === now) return;
    state.value = { tree: now, open: old === null ? firstOpen(now) : carryOver(old.tree, old.open, now) };
  });
  const rows = useComputed(() => {
    if (state.value === null) return [];
    const { tree: at, open } = state.value;
    const first = focus.value.node;
    return visibleRows(at, open).filter((i) => isWithin(at, i, first) || isWithin(at, first, i));
  });
  // What the search or the graph chose is opened and brought into sight.
  useSignalEffect(() => {
    const node = selected.value;
    const now = state.value;
    if (now === null || node < 0 || now.tree !== tree.peek()) return;
    const open = revealed(now.tree, now.open, node);
    if (open !== now.open) state.value = { ...now, open };
    else reveal(scroller.current, rows.peek().indexOf(node), ROW, HEAD);
  });
  const sight = useSight(scroller, rows.value.length, ROW);
  if (state.value === null) return null;
  const { tree: at, open } = state.value;
  const { first, last } = sight;

  const setOpen = (node: number, wanted: boolean): void => {
    const next = new Set(open);
    if (wanted) next.add(node);
    else next.delete(node);
    state.value = { tree: at, open: next };
  };
  const choose = (node: number): void => {
    if (node < 0) return;
    select(node);
    const facts = factsOf(mainPane, node);
    if (facts !== null) announcement.value = spoken(facts);
  };
  const openAll = (node: number): void => {
    const next = new Set(open);
    // Enough to read; opening a million rows helps nobody.
    for (let i = node; i < Math.min(at.end[node], node + 5_000); i++) if (at.height[i] > 0) next.add(i);
    state.value = { tree: at, open: next };
  };
  const onKey = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const current = selected.peek() >= 0 ? selected.peek() : focus.peek().node;
    const place = rows.peek().indexOf(current);
    const page = Math.max(1, Math.floor((scroller.current?.clientHeight ?? 0) / ROW) - 2);
    const goTo = (row: number) => choose(rows.peek()[Math.max(0, Math.min(rows.peek().length - 1, row))] ?? -1);
    const acts: Record<string, () => void> = {
      ArrowDown: () => goTo(place + 1),
      ArrowUp: () => goTo(place - 1),
      PageDown: () => goTo(place + page),
      PageUp: () => goTo(place - page),
      Home: () => goTo(0),
      End: () => goTo(rows.peek().length - 1),
      ArrowRight: () => (open.has(current) || at.height[current] === 0 ? goTo(place + 1) : setOpen(current, true)),
      ArrowLeft: () =>
        open.has(current) && at.height[current] > 0 ? setOpen(current, false) : choose(at.parent[current]),
      "*": () => openAll(current),
      Enter: () => {
        zoomTo(current);
        navigate({ tab: "flame" });
      },
      m: () => {
        const box = scroller.current?.getBoundingClientRect();
        openFrameMenu(mainPane, current, (box?.left ?? 0) + 60, (box?.top ?? 0) + 60);
      },
    };
    const act = acts[event.key] ?? actionsFor(mainPane, current).find((one) => one.key === event.key)?.run;
    if (act === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    act();
  };

  return (
    <div class="table-scroller" ref={scroller} onScroll={sight.onScroll}>
      <table
        class="tree-grid"
        // biome-ignore lint/a11y/noNoninteractiveElementToInteractiveRole: the ARIA practices make a treegrid of a table so
        role="treegrid"
        aria-label="Call tree"
        aria-rowcount={rows.value.length + 1}
        aria-activedescendant={selected.value >= 0 ? `node-${selected.value}` : undefined}
        tabIndex={0}
        onKeyDown={onKey}
      >
        <thead>
          <tr aria-rowindex={1}>
            <th scope="col" class="number">
              Total
            </th>
            <th scope="col" class="number small">
              Self
            </th>
            <th scope="col">Function</th>
            <th scope="col" class="where">
              Where
            </th>
          </tr>
        </thead>
        <tbody>
          {first > 0 && <tr class="space" style={{ height: `${first * ROW}px` }} />}
          {rows.value.slice(first, last).map((node, i) => (
            <Row
              key={node}
              at={at}
              node={node}
              index={first + i + 2}
              open={at.height[node] === 0 ? null : open.has(node)}
              onToggle={() => setOpen(node, !open.has(node))}
              onChoose={() => choose(node)}
            />
          ))}
          {last < rows.value.length && <tr class="space" style={{ height: `${(rows.value.length - last) * ROW}px` }} />}
        </tbody>
      </table>
    </div>
  );
}

function Row(props: {
  at: CallTree;
  node: number;
  index: number;
  /** Null for a leaf. */
  open: boolean | null;
  onToggle: () => void;
  onChoose: () => void;
}) {
  const { at, node, open } = props;
  const frame = describeFrame(at.frames, at.frame[node]);
  const measure = flame.value?.measure ?? NO_MEASURE;
  const matched = found.value?.frames[at.frame[node]] === 1;
  const parent = at.parent[node];
  const siblings = parent < 0 ? [node] : children(at, parent);
  const ink = theme.value.inks[coloring.value.inks[at.frame[node]]];
  return (
    <tr
      id={`node-${node}`}
      class={matched ? "matched" : ""}
      aria-rowindex={props.index}
      aria-level={at.depth[node] + 1}
      aria-posinset={siblings.indexOf(node) + 1}
      aria-setsize={siblings.length}
      aria-expanded={open ?? undefined}
      aria-selected={selected.value === node}
      onClick={props.onChoose}
      onDblClick={props.onToggle}
      onContextMenu={(event) => {
        event.preventDefault();
        props.onChoose();
        openFrameMenu(mainPane, node, event.clientX, event.clientY);
      }}
    >
      <td class="number" title={formatAmount(at.total[node], measure)}>
        <span class="bar" style={{ width: `${(at.total[node] / Math.max(at.total[0], 1)) * 100}%` }} />
        <span class="share">{formatShare(at.total[node], at.total[0])}</span>
        <span class="quiet">{formatNanos(at.total[node] * measure.scale)}</span>
      </td>
      <td class="number small" title={formatAmount(at.self[node], measure)}>
        <span class="share">{at.self[node] > 0 ? formatShare(at.self[node], at.total[0]) : "–"}</span>
      </td>
      <td class="function" style={{ paddingLeft: `${8 + Math.min(at.depth[node], 60) * 12}px` }}>
        <span
          class="twist"
          aria-hidden="true"
          onClick={(event) => {
            event.stopPropagation();
            props.onToggle();
          }}
        >
          {open === null ? "" : open ? "▾" : "▸"}
        </span>
        <span class="swatch" style={{ background: ink?.fill ?? "" }} /> {frame.name}
      </td>
      <td class="quiet where" title={frame.source ?? frame.binary ?? ""}>
        {frame.source ?? (frame.binary === null ? "" : baseName(frame.binary))}
      </td>
    </tr>
  );
}

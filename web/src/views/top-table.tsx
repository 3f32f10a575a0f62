/** The top functions as a table: sortable, as long as need be; the chosen one with its direct callers and callees beside it. */

import { useComputed } from "@preact/signals";
import { useRef } from "preact/hooks";
import type { Top } from "../api/contract";
import { kindInk } from "../model/color";
import { type FunctionId, formatFunction, functionOf, isCode } from "../model/function";
import { neighbours } from "../model/sandwich";
import { type TopColumn, topRows } from "../model/top-rows";
import {
  baseName,
  formatAmount,
  formatCount,
  formatNanos,
  formatShare,
  type Measure,
  NO_MEASURE,
} from "../model/units";
import { chooseFunction, searchQuery } from "../state/flame";
import { cut, missing } from "../state/sandwich";
import { chosenFunction, flame, navigate, questions, shown, view } from "../state/store";
import { theme } from "../state/theme";
import { reveal, useSight } from "./virtual-rows";

const ROW = 26;
const HEAD = 28;

const COLUMNS: readonly { by: TopColumn; label: string; class: string }[] = [
  { by: "self", label: "Self", class: "number" },
  { by: "total", label: "Total", class: "number" },
  { by: "name", label: "Function", class: "function" },
  { by: "binary", label: "Binary", class: "binary" },
];

export function TopTable() {
  const scroller = useRef<HTMLElement>(null);
  // Searched and put in order by the server, among all functions; here until its next answer comes.
  const answered = useComputed(() => questions.top.state.value.answer);
  const rows = useComputed(() => topRows(answered.value?.rows ?? [], searchQuery.value, shown.sort.value));
  const sight = useSight(scroller, rows.value.length, ROW);
  const answer = answered.value;
  if (answer === null) return null;
  const { samples } = answer;
  const { first, last } = sight;
  const fn = shown.fn.value;
  const step = (event: KeyboardEvent): void => {
    const by = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (by === 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const at = rows.peek().findIndex((row) => formatFunction(row) === view.peek().fn);
    const next = rows.peek()[Math.max(0, Math.min(rows.peek().length - 1, at + by))];
    if (next === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    chooseFunction(next);
    reveal(scroller.current, rows.peek().indexOf(next), ROW, HEAD);
  };
  return (
    <div class="table-and-side">
      <div class="table-part">
        <section
          class={questions.top.state.value.stale ? "table-scroller stale" : "table-scroller"}
          ref={scroller}
          // biome-ignore lint/a11y/noNoninteractiveTabindex: an area that scrolls must be reachable by keyboard
          tabIndex={0}
          aria-label="Top functions"
          onScroll={sight.onScroll}
          onKeyDown={step}
        >
          <table class="top" aria-rowcount={rows.value.length + 1}>
            <thead>
              <tr aria-rowindex={1}>
                {COLUMNS.map((column) => (
                  <Heading key={column.by} {...column} />
                ))}
                <th scope="col" class="source">
                  Source
                </th>
              </tr>
            </thead>
            <tbody>
              {first > 0 && <tr class="space" style={{ height: `${first * ROW}px` }} />}
              {rows.value.slice(first, last).map((row, i) => (
                <tr
                  key={first + i}
                  aria-rowindex={first + i + 2}
                  class={fn !== null && formatFunction(row) === fn ? "chosen" : ""}
                >
                  <Figure part={row.self} all={samples} of={answer} />
                  <Figure part={row.total} all={samples} of={answer} />
                  <th scope="row" class="function">
                    <span class="swatch" style={{ background: theme.value.inks[kindInk(row.kind)].fill }} />
                    <button
                      type="button"
                      class="link"
                      aria-pressed={fn !== null && formatFunction(row) === fn}
                      title={row.name}
                      onClick={() => chooseFunction(row)}
                    >
                      {row.name}
                    </button>
                  </th>
                  <td class="binary" title={row.binary ?? ""}>
                    {row.binary === null ? "" : baseName(row.binary)}
                  </td>
                  <Source row={row} />
                </tr>
              ))}
              {last < rows.value.length && (
                <tr class="space" style={{ height: `${(rows.value.length - last) * ROW}px` }} />
              )}
            </tbody>
          </table>
        </section>
        <div class="details">
          <span class="quiet">{tableSize(answer, rows.value.length)}</span>
        </div>
      </div>
      {fn !== null && <Beside />}
    </div>
  );
}

/** How many functions there are, how many fit the search, and how many of these have a row. */
function tableSize({ rows, hidden_rows, unmatched_rows }: Top, shown: number): string {
  const matching = rows.length + hidden_rows;
  const all = matching + unmatched_rows;
  const count =
    unmatched_rows > 0
      ? `${formatCount(matching)} of ${formatCount(all)} functions match`
      : `${formatCount(all)} functions`;
  return hidden_rows > 0 ? `${count}; the first ${formatCount(shown)} are listed` : count;
}

function Figure({ part, all, of }: { part: number; all: number; of: Measure }) {
  return (
    <td class="number" title={formatAmount(part, of)}>
      <span class="bar" style={{ width: `${all > 0 ? (part / all) * 100 : 0}%` }} />
      <span class="share">{formatShare(part, all)}</span>
      <span class="quiet">{formatNanos(part * of.scale)}</span>
    </td>
  );
}

/** The end of a path says the most: the start gives way, the line number never. */
function Source({ row }: { row: FunctionId & { line: number | null } }) {
  const { file, line } = row;
  if (file === null) return <td class="source" />;
  const suffix = line !== null && line > 0 ? `:${line}` : "";
  const name = baseName(file);
  return (
    <td class="source" title={`${file}${suffix}`}>
      <button
        type="button"
        class="link path"
        onClick={() => navigate({ tab: "source", fn: formatFunction(row), line: null })}
      >
        <span class="folder">{file.slice(0, file.length - name.length)}</span>
        <span class="file">
          {name}
          {suffix}
        </span>
      </button>
    </td>
  );
}

/** Direct callers and callees of the chosen function. */
function Beside() {
  const chosen = chosenFunction.value;
  const filling = cut.value;
  if (chosen === null) return null;
  return (
    <aside class="beside" aria-label="Callers and callees">
      <h2>{chosen.name}</h2>
      <p class="actions">
        <button
          type="button"
          class="button small"
          onClick={() => navigate({ tab: "flame", search: `"${chosen.name}"`, zoom: null })}
        >
          In the graph
        </button>
        <button type="button" class="button small" onClick={() => navigate({ tab: "sandwich" })}>
          Sandwich
        </button>
        <button type="button" class="button small" onClick={() => navigate({ tab: "source" })}>
          Source
        </button>
        <button type="button" class="button small" onClick={() => navigate({ fn: null }, "replace")}>
          Close
        </button>
      </p>
      {filling === null ? (
        <p class="quiet">
          {missing.value === "looking" ? "Loading …" : "It is in frames too small to send, or hidden."}
        </p>
      ) : (
        <>
          <Neighbours title="Called by" tree={filling.callers} rest="started here" />
          <Neighbours title="Calls" tree={filling.callees} rest="itself" />
        </>
      )}
    </aside>
  );
}

const NEIGHBOURS = 30;

function Neighbours(props: { title: string; tree: Parameters<typeof neighbours>[0]; rest: string }) {
  const { tree } = props;
  const rows = neighbours(tree);
  const all = tree.total[0];
  return (
    <section>
      <h3>{props.title}</h3>
      <ul>
        {tree.self[0] > 0 && (
          <li class="neighbour">
            <span class="share">{formatShare(tree.self[0], all)}</span>
            <span class="quiet">{props.rest}</span>
          </li>
        )}
        {rows.slice(0, NEIGHBOURS).map(({ frame, total }) => {
          const one = functionOf(tree.frames, frame);
          return (
            <li class="neighbour" key={frame}>
              <span class="bar" style={{ width: `${(total / Math.max(all, 1)) * 100}%` }} />
              <span class="share" title={formatAmount(total, flame.value?.measure ?? NO_MEASURE)}>
                {formatShare(total, all)}
              </span>
              {isCode(one.kind) ? (
                <button type="button" class="link" title={one.name} onClick={() => chooseFunction(one)}>
                  {one.name}
                </button>
              ) : (
                <span class="quiet">{one.name}</span>
              )}
            </li>
          );
        })}
      </ul>
      {rows.length > NEIGHBOURS && <p class="quiet">and {formatCount(rows.length - NEIGHBOURS)} more</p>}
    </section>
  );
}

function Heading(column: { by: TopColumn; label: string; class: string }) {
  const { by, ascending } = shown.sort.value;
  const chosen = by === column.by;
  const numeric = column.class === "number";
  return (
    <th scope="col" class={column.class} aria-sort={chosen ? (ascending ? "ascending" : "descending") : "none"}>
      <button
        type="button"
        onClick={() => navigate({ sort: { by: column.by, ascending: chosen ? !ascending : !numeric } }, "replace")}
      >
        {column.label}
        <span class="arrow" aria-hidden="true">
          {chosen && (ascending ? "▴" : "▾")}
        </span>
      </button>
    </th>
  );
}

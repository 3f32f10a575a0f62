/** The top functions as a table: sortable, as long as need be (only the rows in sight are in the page). */

import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { SHADES } from "../model/color";
import { type TopColumn, topRows } from "../model/top-rows";
import { baseName, formatCount, formatNanos, formatShare } from "../model/units";
import { navigate, questions, searchQuery, theme, view } from "../state/store";

const ROW = 26;
const OVERSCAN = 8;

const COLUMNS: readonly { by: TopColumn; label: string; class: string }[] = [
  { by: "self", label: "Self", class: "number" },
  { by: "total", label: "Total", class: "number" },
  { by: "name", label: "Function", class: "function" },
  { by: "binary", label: "Binary", class: "binary" },
];

export function TopTable() {
  const scroller = useRef<HTMLElement>(null);
  const top = useSignal(0);
  const height = useSignal(600);
  const rows = useComputed(() =>
    topRows(questions.top.state.value.answer?.rows ?? [], searchQuery.value, view.value.sort),
  );
  useEffect(() => {
    const element = scroller.current;
    if (element === null) return;
    const watcher = new ResizeObserver(() => {
      height.value = element.clientHeight;
    });
    watcher.observe(element);
    return () => watcher.disconnect();
  }, [height]);
  const { answer } = questions.top.state.value;
  if (answer === null) return null;
  const { samples, nanos_per_sample: nanos } = answer;
  const first = Math.max(0, Math.floor(top.value / ROW) - OVERSCAN);
  const last = Math.min(rows.value.length, Math.ceil((top.value + height.value) / ROW) + OVERSCAN);
  return (
    <>
      <section
        class="table-scroller"
        ref={scroller}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: an area that scrolls must be reachable by keyboard
        tabIndex={0}
        aria-label="Top functions"
        onScroll={(event) => {
          top.value = event.currentTarget.scrollTop;
        }}
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
              <tr key={first + i} aria-rowindex={first + i + 2}>
                <td class="number">
                  <span class="bar" style={{ width: `${samples > 0 ? (row.self / samples) * 100 : 0}%` }} />
                  <span class="share">{formatShare(row.self, samples)}</span>
                  <span class="quiet">{formatNanos(row.self * nanos)}</span>
                </td>
                <td class="number">
                  <span class="bar" style={{ width: `${samples > 0 ? (row.total / samples) * 100 : 0}%` }} />
                  <span class="share">{formatShare(row.total, samples)}</span>
                  <span class="quiet">{formatNanos(row.total * nanos)}</span>
                </td>
                <th scope="row" class="function">
                  <span
                    class="swatch"
                    style={{ background: theme.value.inks[Math.min(row.kind, 7) * SHADES]?.fill ?? "" }}
                  />
                  <button
                    type="button"
                    class="link"
                    title={`Search ${row.name} in the flame graph`}
                    onClick={() => navigate({ tab: "flame", search: `"${row.name}"`, zoom: null })}
                  >
                    {row.name}
                  </button>
                </th>
                <td class="binary" title={row.binary ?? ""}>
                  {row.binary === null ? "" : baseName(row.binary)}
                </td>
                <td class="source" title={row.file ?? ""}>
                  {row.file === null ? "" : `${row.file}${row.line ? `:${row.line}` : ""}`}
                </td>
              </tr>
            ))}
            {last < rows.value.length && (
              <tr class="space" style={{ height: `${(rows.value.length - last) * ROW}px` }} />
            )}
          </tbody>
        </table>
      </section>
      <div class="details">
        <span class="quiet">
          {rows.value.length === answer.rows.length
            ? `${formatCount(answer.rows.length)} functions`
            : `${formatCount(rows.value.length)} of ${formatCount(answer.rows.length)} functions match`}
          {answer.hidden_rows > 0 && `; ${formatCount(answer.hidden_rows)} with less self time are left out`}
        </span>
      </div>
    </>
  );
}

function Heading(column: { by: TopColumn; label: string; class: string }) {
  const { by, ascending } = view.value.sort;
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

/**
 * Source and assembly of the chosen function, each line with what it took: choosing a line marks its instructions, choosing an
 * instruction its line. Shares are of the function. Where the text or the code is missing, it says why.
 */

import { type ReadonlySignal, signal, useComputed, useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Instruction, SourceText } from "../api/contract";
import { hottest, listing, nextHottest, sameFile } from "../model/code";
import { formatFunction } from "../model/function";
import { baseName, formatAmount, formatShare, type Measure, NO_MEASURE } from "../model/units";
import { assembly, codeFunction, codeLine, lineInstructions, source } from "../state/code";
import { addFolder, dropFolder, folders } from "../state/folders";
import { flame, navigate, shown } from "../state/store";
import type { CodePart } from "../state/view";
import { copy } from "./frame-actions";
import { FunctionChoice, FunctionPicker } from "./function-picker";
import { CloseIcon } from "./icons";
import { reveal, useSight } from "./virtual-rows";

const LOADING = "Loading …";
const ROW = 20;
const HEAD = 28;

const PARTS: readonly { part: CodePart; label: string }[] = [
  { part: "both", label: "Both" },
  { part: "lines", label: "Source" },
  { part: "assembly", label: "Assembly" },
];

export function Code() {
  const chosen = codeFunction.value;
  if (chosen === null) {
    return (
      <div class="empty">
        <h2>Source and assembly of one function</h2>
        <p>
          Choose a function: here, with <kbd>a</kbd> on a frame of the graph, or in the table. Each line shows what it
          took.
        </p>
        <FunctionChoice />
      </div>
    );
  }
  const code = shown.code.value;
  const answer = source.value.answer ?? assembly.value.answer;
  const total = answer?.total ?? 0;
  return (
    <div class="code-view">
      <div class="filling">
        <strong class="name" title={chosen.name}>
          {chosen.name}
        </strong>
        <span>
          total <b>{formatShare(total, flame.value?.samples ?? 0)}</b>{" "}
          <span class="quiet">{formatAmount(total, answer ?? NO_MEASURE)}</span>
        </span>
        <span class="gap" />
        <FunctionPicker />
        <div class="segments">
          {PARTS.map(({ part, label }) => (
            <button
              type="button"
              key={part}
              aria-pressed={part === code}
              onClick={() => navigate({ code: part }, "replace")}
            >
              {label}
            </button>
          ))}
        </div>
        <button
          type="button"
          class="button small"
          onClick={() => navigate({ search: `"${chosen.name}"`, tab: "flame", zoom: null })}
        >
          In the flame graph
        </button>
        <button type="button" class="button small" onClick={() => navigate({ tab: "sandwich" })}>
          Sandwich
        </button>
      </div>
      <div class="code-parts">
        {code !== "assembly" && <Lines key={`lines ${formatFunction(chosen)}`} />}
        {code !== "lines" && <Assembly key={`assembly ${formatFunction(chosen)}`} />}
      </div>
    </div>
  );
}

function Lines() {
  const answer = useComputed(() => {
    const found = source.value.answer;
    return found?.function === codeFunction.value?.name ? found : null;
  });
  const rows = useComputed(() => answer.value?.lines ?? []);
  const chosen = useComputed(() => rows.value.findIndex(({ line }) => line === codeLine.value));
  const now = answer.value;
  const where = now?.found ?? now?.file ?? null;
  return (
    <CodeTable
      title="Source"
      where={where}
      reason={now === null ? trouble(source.value) : now.reason}
      help={now !== null && now.found === null && now.file !== null ? <Folders file={now.file} /> : null}
      rows={rows}
      total={now?.total ?? 0}
      of={now ?? NO_MEASURE}
      chosen={chosen}
      linked={NONE}
      choose={(i) => navigate({ line: rows.peek()[i].line }, "replace")}
      mark={(row: SourceText) => String(row.line)}
      text={(row: SourceText) => row.text ?? ""}
      note={() => null}
    />
  );
}

function Assembly() {
  const answer = useComputed(() => {
    const found = assembly.value.answer;
    return found?.function === codeFunction.value?.name ? found : null;
  });
  const rows = useComputed(() => answer.value?.instructions ?? []);
  const at = useSignal(-1);
  // A line chosen elsewhere: its heaviest instruction, unless the chosen one is of it.
  const chosen = useComputed(() => {
    const linked = lineInstructions.value;
    if (linked.has(at.value) || (linked.size === 0 && at.value >= 0)) return at.value;
    const places = [...linked];
    return places.length > 0 ? places[hottest(places.map((i) => rows.value[i]))] : hottest(rows.value);
  });
  const now = answer.value;
  return (
    <CodeTable
      title="Assembly"
      where={now?.binary ?? null}
      reason={now === null ? trouble(assembly.value) : now.reason}
      help={null}
      rows={rows}
      total={now?.total ?? 0}
      of={now ?? NO_MEASURE}
      chosen={chosen}
      linked={lineInstructions}
      choose={(i) => {
        at.value = i;
        const { file, line } = rows.peek()[i];
        if (line !== null && sameFile(file, source.peek().answer?.file ?? null)) navigate({ line }, "replace");
      }}
      mark={(row: Instruction) => row.address}
      text={(row: Instruction) => row.text}
      note={(row: Instruction) => (row.line === null ? null : `${baseName(row.file ?? "")}:${row.line}`)}
    />
  );
}

function trouble(asked: typeof source.value | typeof assembly.value): string {
  const { failure } = asked;
  if (failure === null) return LOADING;
  if (failure.kind === "refused") return `${failure.problem.title}. ${failure.problem.detail}`;
  return failure.kind === "malformed" ? failure.message : "The profiler does not answer.";
}

const NONE: ReadonlySignal<ReadonlySet<number>> = signal(new Set<number>());

interface Row {
  self: number;
  total: number;
}

function CodeTable<R extends Row>(props: {
  title: string;
  where: string | null;
  reason: string | null;
  /** What can be done about the reason. */
  help: ComponentChildren;
  rows: ReadonlySignal<readonly R[]>;
  /** Samples that are 100 %. */
  total: number;
  of: Measure;
  /** Place of the chosen row, or -1. */
  chosen: ReadonlySignal<number>;
  /** Places of rows that belong to what is chosen in the other list. */
  linked: ReadonlySignal<ReadonlySet<number>>;
  choose(row: number): void;
  mark(row: R): string;
  text(row: R): string;
  note(row: R): ComponentChildren;
}) {
  const { title, rows, total, choose } = props;
  const scroller = useRef<HTMLElement>(null);
  const list = rows.value;
  const chosen = props.chosen.value;
  const sight = useSight(scroller, list.length, ROW);
  const shown = useRef(false);
  // What is chosen, here or in the other list, comes into sight: near the middle when it was far away.
  useEffect(() => {
    const element = scroller.current;
    if (element === null || chosen < 0) return;
    const first = !shown.current;
    shown.current = true;
    const far = first || Math.abs(chosen * ROW - element.scrollTop - element.clientHeight / 2) > element.clientHeight;
    if (far) element.scrollTop = Math.max(0, chosen * ROW - element.clientHeight / 2);
    else reveal(element, chosen, ROW, HEAD);
  }, [chosen, list.length]);
  const most = list.reduce((most, row) => Math.max(most, row.self), 0);
  const keys = (event: KeyboardEvent): void => {
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 20, PageUp: -20 }[event.key];
    const to =
      by !== undefined ? chosen + by : event.key === "Home" ? 0 : event.key === "End" ? list.length - 1 : undefined;
    if (to === undefined || list.length === 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    choose(Math.max(0, Math.min(list.length - 1, to)));
  };
  return (
    <section class="code-part" aria-label={title}>
      <header>
        <h3>{title}</h3>
        {props.where !== null && (
          <span class="quiet where" title={props.where}>
            {props.where}
          </span>
        )}
        <span class="gap" />
        {most > 0 && (
          <button type="button" class="button small" onClick={() => choose(nextHottest(list, chosen))}>
            Next hot line
          </button>
        )}
        {list.length > 0 && (
          <CopyListing
            text={() =>
              listing(
                list.map((row) => ({ ...row, mark: props.mark(row), text: props.text(row) })),
                total,
              )
            }
          />
        )}
      </header>
      {props.reason !== null && (
        <p class={props.reason === LOADING ? "code-reason quiet" : "code-reason"}>{props.reason}</p>
      )}
      {props.help}
      {list.length > 0 && (
        <section
          class="code-scroller"
          ref={scroller}
          // biome-ignore lint/a11y/noNoninteractiveTabindex: an area that scrolls must be reachable by keyboard
          tabIndex={0}
          aria-label={`${title}: arrow keys choose a line`}
          onScroll={sight.onScroll}
          onKeyDown={keys}
          onClick={(event) => {
            const row = (event.target as Element).closest<HTMLElement>("[data-row]")?.dataset.row;
            if (row !== undefined && getSelection()?.isCollapsed !== false) choose(Number(row));
          }}
        >
          <table class="code" aria-rowcount={list.length + 1}>
            <thead>
              <tr>
                <th scope="col" class="weight">
                  Self
                </th>
                <th scope="col" class="weight">
                  Total
                </th>
                <th scope="col" class="mark">
                  {title === "Source" ? "Line" : "Address"}
                </th>
                <th scope="col">Code</th>
              </tr>
            </thead>
            <tbody>
              {sight.first > 0 && <tr class="space" style={{ height: `${sight.first * ROW}px` }} />}
              {list.slice(sight.first, sight.last).map((row, nth) => {
                const i = sight.first + nth;
                const note = props.note(row);
                return (
                  <tr
                    key={i}
                    data-row={i}
                    aria-rowindex={i + 2}
                    aria-current={i === chosen ? "true" : undefined}
                    class={i === chosen ? "chosen" : props.linked.value.has(i) ? "linked" : ""}
                  >
                    <Weight part={row.self} total={total} most={most} of={props.of} />
                    <Weight part={row.total} total={total} most={0} of={props.of} />
                    <th scope="row" class="mark">
                      {props.mark(row)}
                    </th>
                    <td class="code-text">
                      {props.text(row)}
                      {note !== null && <span class="quiet"> {note}</span>}
                    </td>
                  </tr>
                );
              })}
              {sight.last < list.length && (
                <tr class="space" style={{ height: `${(list.length - sight.last) * ROW}px` }} />
              )}
            </tbody>
          </table>
        </section>
      )}
    </section>
  );
}

function CopyListing({ text }: { text: () => string }) {
  const state = useSignal("Copy");
  return (
    <button
      type="button"
      class="button small"
      title="Copy the listing as text, each line with its shares"
      onClick={async () => {
        state.value = (await copy(text(), "Copied the listing")) ? "Copied" : "Not copied";
      }}
    >
      {state}
    </button>
  );
}

/** Where this host has the source: FROM is the folder that the compiler wrote, TO the one that has it here. */
function Folders({ file }: { file: string }) {
  const problem = useSignal("");
  // Relative paths have a word of their own: an empty FROM.
  const folder = file.startsWith("/") ? file.slice(0, file.lastIndexOf("/")) : "";
  return (
    <form
      class="folders"
      onSubmit={(event) => {
        event.preventDefault();
        const form = new FormData(event.currentTarget);
        const [from, to] = [String(form.get("from")).trim(), String(form.get("to")).trim()];
        // The grammar is that of --source-map.
        if (!to.startsWith("/") || !(from === "" || from.startsWith("/"))) {
          problem.value = "Both are absolute paths; the first may be empty, for sources with relative paths.";
          return;
        }
        problem.value = "";
        addFolder(from, to);
      }}
    >
      <label>
        What was compiled in
        <input type="text" class="text code" name="from" defaultValue={folder} spellcheck={false} key={folder} />
      </label>
      <label>
        lies on this host in
        <input type="text" class="text code" name="to" placeholder="/home/me/src" spellcheck={false} required />
      </label>
      <button type="submit" class="button">
        Add folder
      </button>
      <p class="quiet">Only files that you may read yourself are shown, and only those that samples name.</p>
      {problem.value !== "" && <p class="problem">{problem}</p>}
      {folders.value.length > 0 && (
        <ul class="rules">
          {folders.value.map((one) => (
            <li key={one}>
              <code>{one}</code>
              <button type="button" class="clear" aria-label={`Forget ${one}`} onClick={() => dropFolder(one)}>
                <CloseIcon />
              </button>
            </li>
          ))}
        </ul>
      )}
    </form>
  );
}

/** With a bar against the heaviest row. */
function Weight({ part, total, most, of }: { part: number; total: number; most: number; of: Measure }) {
  if (part === 0) return <td class="weight" />;
  return (
    <td class="weight" title={formatAmount(part, of)}>
      {most > 0 && <span class="bar" style={{ width: `${(part / most) * 100}%` }} />}
      <span class="share">{formatShare(part, total)}</span>
    </td>
  );
}

/** How well the code of each file is named: where names came from, why some are missing, and a command that helps. */

import { useSignal } from "@preact/signals";
import { AnsweredError, symbolize } from "../api/client";
import type { Binary, Remedy } from "../api/contract";
import { REASONS } from "../model/remedies";
import { baseName, formatCount, formatFigure, formatShare, type Measure } from "../model/units";
import { retryNow } from "../state/refresh";
import { flame, questions, status } from "../state/store";
import { CopyButton } from "./copy-button";
import { Card } from "./quality";

const SHOWN = 10;
const MOST = 100;

export function Binaries() {
  const { answer } = questions.binaries.state.value;
  const all = useSignal(false);
  if (answer === null) return null;
  const most = all.value ? MOST : SHOWN;
  const rows = answer.binaries;
  const { frames, named } = answer;
  const samples = flame.value?.samples ?? 0;
  return (
    <Card
      title="Binaries"
      wide
      figure={`${formatShare(named, frames)} of frames named`}
      good={named >= frames * 0.98}
      about="Every file with samples in view, what lacks names first: where names were looked for, and what would help."
    >
      <SymbolizeAgain unnamed={frames - named} />
      {answer.together !== null && (
        <>
          <p>The symbols of the heaviest of these, at once:</p>
          <Helps remedy={answer.together} />
        </>
      )}
      <div class="scroll-x">
        <table class="facts binaries">
          <thead>
            <tr>
              <th scope="col">File</th>
              <th scope="col" class="number">
                Samples
              </th>
              <th scope="col" class="number">
                Named
              </th>
              <th scope="col">Names from</th>
              <th scope="col">What is missing, and what helps</th>
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, most).map((row, at) => (
              <Row
                key={`${row.path} ${row.build_id} ${row.program}`}
                row={row}
                of={answer}
                samples={samples}
                above={rows.slice(0, at)}
              />
            ))}
          </tbody>
        </table>
      </div>
      {rows.length > SHOWN && (
        <button
          type="button"
          class="link"
          onClick={() => {
            all.value = !all.value;
          }}
        >
          {all.value ? `Show the first ${SHOWN}` : `Show ${formatCount(Math.min(rows.length, MOST) - SHOWN)} more`}
        </button>
      )}
      {all.value && rows.length + answer.hidden_rows > MOST && (
        <p class="quiet">and {formatCount(rows.length + answer.hidden_rows - MOST)} more with fewer samples</p>
      )}
    </Card>
  );
}

/** `above`: the rows before it. What a command needs is said once. */
function Row({ row, of, samples, above }: { row: Binary; of: Measure; samples: number; above: readonly Binary[] }) {
  const { path, build_id, program, samples_self, frames, named, inlined_frames, sources, reason, remedies } = row;
  return (
    <tr>
      <th scope="row" title={build_id === null ? path : `${path}\nbuild id ${build_id}`}>
        {program === null ? baseName(path) : `${baseName(program)} ${path}`}{" "}
        {build_id !== null && <code class="quiet">{build_id.slice(0, 8)}</code>}
      </th>
      <td class="number">
        {formatShare(samples_self, samples)} <span class="quiet">{formatFigure(samples_self, of)}</span>
      </td>
      <td class="number" title={inlined_frames ? `and ${formatFigure(inlined_frames, of)} inlined` : undefined}>
        {formatShare(named, frames)}{" "}
        <span class="quiet">
          {formatFigure(named, of)} of {formatFigure(frames, of)}
        </span>
      </td>
      <td>
        <ul class="sources">
          {sources.map(({ source, found }) => (
            <li key={source} class={found === null ? "quiet" : "good"} title={found ?? "not found"}>
              {found === null ? "✗" : "✓"} {SOURCES[source] ?? source}
              <span class="visually-hidden">{found === null ? " not found" : " found"}</span>
            </li>
          ))}
        </ul>
      </td>
      <td>
        {reason !== null && missingText(reason, formatFigure(frames - named, of), named)}
        {remedies.map(({ command, note }) => {
          const said = above.some((row) => row.remedies.some((other) => other.note === note));
          return <Helps key={command ?? note} remedy={{ command, note: said && command !== null ? null : note }} />;
        })}
      </td>
    </tr>
  );
}

/** A command to copy, and what it needs. */
function Helps({ remedy: { command, note } }: { remedy: Remedy }) {
  return (
    <p class="helps">
      {command !== null && <CopyButton text={command} />} {note !== null && <span class="quiet">{note}</span>}
    </p>
  );
}

/** Few frames of a well named file that nobody has asked about yet are no finding about the file. */
function missingText(reason: string, unnamed: string, named: number): string {
  const what = REASONS[reason]?.what ?? reason;
  return reason === "not_asked" && named > 0 ? `${unnamed} frames: ${what}` : what;
}

/** In the field's words. */
const SOURCES: Readonly<Record<string, string>> = {
  dwarf: "DWARF",
  symtab: "symbols",
  dynsym: "dynamic symbols",
  gnu_debugdata: "mini debug info",
  debug_file: "debug file",
  dwz: "dwz",
  dwo: "split DWARF",
  debuginfod: "debuginfod",
  go: "Go table",
  perf_map: "perf map",
  jitdump: "jitdump",
  kallsyms: "kernel symbols",
  bpf: "BPF programs",
  vdso: "vDSO",
};

/** What a person installed since is found only when it is looked for again. */
function SymbolizeAgain({ unnamed }: { unnamed: number }) {
  // Where only a database is served nobody can look.
  if (status.value?.recording == null) {
    return <CopyButton text={`profiler symbolize --db ${status.value?.database.path ?? "FILE"}`} />;
  }
  return <AgainButton unnamed={unnamed} />;
}

function AgainButton({ unnamed }: { unnamed: number }) {
  const said = useSignal("");
  const busy = useSignal(false);
  const again = async (): Promise<void> => {
    busy.value = true;
    try {
      const answer = await symbolize(AbortSignal.timeout(30_000));
      said.value = answer.started
        ? `Looking again for ${formatCount(answer.unnamed)} names; the figures follow as they are found.`
        : "Nothing to be done: everything is named, or it is under way already.";
      retryNow();
    } catch (error) {
      said.value =
        error instanceof AnsweredError
          ? `${error.problem.title}. ${error.problem.detail}`
          : "The profiler does not answer.";
    }
    busy.value = false;
  };
  return (
    <p class="again">
      <button type="button" class="button small" disabled={busy.value} onClick={() => void again()}>
        Look for names again
      </button>{" "}
      <span class="quiet" role="status">
        {said.value !== "" ? said.value : unnamed > 0 ? "For when debug files were installed since." : ""}
      </span>
    </p>
  );
}

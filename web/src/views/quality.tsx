/** How far the numbers can be trusted, and what would make them better: losses, cut stacks, missing names, own cost. */

import type { ComponentChildren } from "preact";
import type { Quality as Answer, Recording } from "../api/contract";
import { advice } from "../model/advice";
import { FrameKind } from "../model/call-tree";
import { commandFor, ENDS, LOSSES, MISSES, REASONS, type Remedy, remedyForEnd } from "../model/remedies";
import {
  baseName,
  formatBytes,
  formatCount,
  formatFigure,
  formatMoment,
  formatNanos,
  formatShare,
  formatSpan,
} from "../model/units";
import { questions, status, timeline } from "../state/store";
import { Binaries } from "./binaries";
import { CopyButton } from "./copy-button";

export function Quality() {
  const { answer, stale } = questions.quality.state.value;
  const now = status.value;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: an area that scrolls must be reachable by keyboard
    <section class={stale ? "quality-page stale" : "quality-page"} aria-label="Quality" tabIndex={0}>
      {answer === null && <p class="quiet">Loading …</p>}
      {answer !== null && answer.samples > 0 && (
        <>
          <WhatToDo answer={answer} />
          <CutShort answer={answer} />
          <Unnamed answer={answer} />
          {answer.interpreters.length > 0 && <Interpreters answer={answer} />}
          <Binaries />
        </>
      )}
      {now !== null && (
        <>
          <Lost />
          {answer !== null && <Missed answer={answer} />}
          <Own />
        </>
      )}
    </section>
  );
}

export function Card(props: {
  title: string;
  figure: string;
  good: boolean;
  about: string;
  /** As wide as the page. */
  wide?: boolean;
  children: ComponentChildren;
}) {
  return (
    <section class={props.wide === true ? "card wide" : "card"}>
      <h2>
        {props.title} <span class={props.good ? "figure good" : "figure"}>{props.figure}</span>
      </h2>
      <p class="quiet">{props.about}</p>
      {props.children}
    </section>
  );
}

const GAINS = { named: "named", script: "with functions of the script", whole: "with whole stacks" } as const;

/** The few steps that give most; the cards below have the rest. */
function WhatToDo({ answer }: { answer: Answer }) {
  const { samples, unnamed, interpreters, incomplete } = answer;
  const steps = advice(questions.binaries.state.value.answer?.binaries ?? [], unnamed, interpreters, incomplete);
  if (steps.length === 0) return null;
  return (
    <section class="steps" aria-label="What to do">
      <h2>What to do</h2>
      <ol class="advice">
        {steps.map(({ gain, samples: gained, about, remedy }) => (
          <li key={`${gain} ${remedy.command ?? remedy.note}`}>
            <b class="gain">+{formatShare(gained, samples)}</b>
            <span>
              {GAINS[gain]}: {about.slice(0, 3).join(", ")}
              {about.length > 3 && ` and ${formatCount(about.length - 3)} more`}
            </span>
            <span class="helps">
              {remedy.command !== null && <CopyButton text={remedy.command} />}{" "}
              {remedy.note !== null && <span class="quiet">{remedy.note}</span>}
            </span>
          </li>
        ))}
      </ol>
    </section>
  );
}

/** Programs whose functions are not in any file: what of them has a name, and what gives the rest one. */
function Interpreters({ answer }: { answer: Answer }) {
  const { interpreters, hidden_interpreters, script_total: total, script_named: named } = answer;
  return (
    <Card
      title="Functions of scripts"
      figure={formatShare(named, total)}
      good={named >= total * 0.9}
      about="Samples of processes that an interpreter or a compiler at run time runs, with a function of the script on their stack."
    >
      <div class="scroll-x">
        <table class="facts">
          <thead>
            <tr>
              <th scope="col">Process</th>
              <th scope="col" class="number">
                Named
              </th>
              <th scope="col" class="number">
                Samples
              </th>
              <th scope="col">What helps</th>
            </tr>
          </thead>
          <tbody>
            {interpreters.map((row) => (
              <tr key={`${row.comm} ${row.runtime}`}>
                <th scope="row" title={row.file ?? ""}>
                  {row.comm} <span class="quiet">{row.runtime}</span>
                </th>
                <td class="number">{formatShare(row.named, row.total)}</td>
                <td class="number">{formatFigure(row.total, answer)}</td>
                <td>
                  {row.named < row.total && <p>interpreter: functions of the script are not named yet</p>}
                  {row.remedies.map(({ command, note }) => (
                    <p class="helps" key={command ?? note}>
                      {command !== null && <CopyButton text={command} />}{" "}
                      {note !== null && <span class="quiet">{note}</span>}
                    </p>
                  ))}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {hidden_interpreters > 0 && <p class="quiet">and {formatCount(hidden_interpreters)} more with fewer samples</p>}
    </Card>
  );
}

function CutShort({ answer }: { answer: Answer }) {
  const { samples, complete, incomplete, hidden_rows } = answer;
  const rows = incomplete.map(({ cause, comm, binary, samples, remedy }) => ({
    key: `${cause} ${comm} ${binary} ${remedy}`,
    remedy: remedyForEnd(cause, binary, remedy),
    where: comm,
    binary,
    samples,
  }));
  return (
    <Card
      title="Complete stacks"
      figure={formatShare(complete, samples)}
      good={complete >= samples * 0.98}
      about="Samples in view whose user stack was walked to the thread's first function. The others stand below a note in the graph, never dropped."
    >
      <Shortfalls of={answer} rows={rows} hidden={hidden_rows} head="Where the walk ended, and at whose caller" />
    </Card>
  );
}

function Unnamed({ answer }: { answer: Answer }) {
  const { samples, kinds, unnamed, hidden_unnamed } = answer;
  const missing = kinds[FrameKind.Unknown] ?? 0;
  const rows = unnamed.map(({ reason, binary, samples }) => ({
    key: `${reason} ${binary}`,
    remedy: REASONS[reason] ?? { what: reason, how: "" },
    where: "",
    binary,
    samples,
  }));
  return (
    <Card
      title="Named functions"
      figure={formatShare(samples - missing, samples)}
      good={missing <= samples * 0.02}
      about="Samples in view that ended in a function whose name is known. The others are shown by file and address."
    >
      <Shortfalls of={answer} rows={rows} hidden={hidden_unnamed} head="Why there is no name, and in which file" />
    </Card>
  );
}

interface Shortfall {
  key: string;
  remedy: Remedy;
  /** Whose, where that is known. */
  where: string;
  binary: string | null;
  samples: number;
}

function Shortfalls({ of, rows, hidden, head }: { of: Answer; rows: Shortfall[]; hidden: number; head: string }) {
  if (rows.length === 0) return <p>None. Nothing to be done.</p>;
  return (
    <div class="scroll-x">
      <table class="facts">
        <thead>
          <tr>
            <th scope="col">{head}</th>
            <th scope="col">File</th>
            <th scope="col" class="number">
              Samples
            </th>
            <th scope="col">What helps</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row, i) => (
            <tr key={row.key}>
              <th scope="row">
                {row.remedy.what} {row.where !== "" && <span class="quiet">{row.where}</span>}
              </th>
              <td title={row.binary ?? ""}>{row.binary === null ? "–" : baseName(row.binary)}</td>
              <td class="number">
                {formatShare(row.samples, of.samples)} <span class="quiet">{formatFigure(row.samples, of)}</span>
              </td>
              <td>
                {rows.findIndex((one) => one.remedy.how === row.remedy.how) === i ? (
                  <Help how={row.remedy.how} command={row.remedy.command} />
                ) : (
                  <span class="quiet">as above</span>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {hidden > 0 && <p class="quiet">and {formatCount(hidden)} more with fewer samples</p>}
    </div>
  );
}

function Lost() {
  const now = status.value;
  if (now === null) return null;
  const { taken, lost, stacks } = now.totals;
  const causes = Object.entries(lost).sort(([, a], [, b]) => b - a);
  const gone = causes.reduce((sum, [, n]) => sum + n, 0);
  const inView = timeline.value?.buckets.lost.reduce((sum, n) => sum + n, 0) ?? 0;
  return (
    <Card
      title="Samples kept"
      figure={formatShare(taken - gone, taken)}
      good={gone <= taken * 0.001}
      about={`Since the database began: ${formatCount(taken)} taken, ${formatCount(gone)} lost, ${formatCount(inView)} of them in the range of the timeline. Taken is always stored plus lost.`}
    >
      <Causes head="Lost, by cause" unit="Samples" causes={causes} all={taken} words={LOSSES} />
      <details>
        <summary>How the walks of all stored stacks ended</summary>
        <table class="facts">
          <tbody>
            {Object.entries(stacks)
              .sort(([, a], [, b]) => b - a)
              .map(([end, n]) => (
                <tr key={end}>
                  <th scope="row">{ENDS[end]?.what ?? end}</th>
                  <td class="number">
                    {formatShare(n, now.totals.stored)} <span class="quiet">{formatCount(n)}</span>
                  </td>
                </tr>
              ))}
          </tbody>
        </table>
      </details>
    </Card>
  );
}

/** Ticks that were due and gave neither a sample nor an idle tick: time that nothing is known of. */
function Missed({ answer }: { answer: Answer }) {
  const recording = status.value?.recording ?? null;
  const inView = answer.missed_share;
  const causes = Object.entries(recording?.ticks_missed ?? {}).sort(([, a], [, b]) => b - a);
  const all = causes.reduce((sum, [, n]) => sum + n, 0);
  return (
    <Card
      title="Time sampled"
      figure={formatShare(1 - inView, 1)}
      good={inView <= 0.005}
      about="Share of the timer's ticks in view that the sampling program saw, idle ones too, on the whole host. The others are counted as missed, not as idle."
    >
      {recording === null ? (
        <p class="quiet">Nothing is recording: the timeline names the cause of each mark.</p>
      ) : (
        <Causes head="Missed since the start, by cause" unit="Ticks" causes={causes} all={all} words={MISSES} />
      )}
    </Card>
  );
}

function Causes(props: {
  head: string;
  unit: string;
  causes: [string, number][];
  /** What the counts are a share of. */
  all: number;
  words: Readonly<Record<string, Remedy>>;
}) {
  const database = status.value?.database.path ?? "DATABASE";
  return (
    <div class="scroll-x">
      <table class="facts">
        <thead>
          <tr>
            <th scope="col">{props.head}</th>
            <th scope="col" class="number">
              {props.unit}
            </th>
            <th scope="col">What helps</th>
          </tr>
        </thead>
        <tbody>
          {props.causes.map(([cause, n]) => (
            <tr key={cause} class={n === 0 ? "quiet" : ""}>
              <th scope="row">{props.words[cause]?.what ?? cause}</th>
              <td class="number">{n === 0 ? "none" : `${formatCount(n)} (${formatShare(n, props.all)})`}</td>
              <td>
                {n > 0 && (
                  <Help how={props.words[cause]?.how ?? ""} command={commandFor(props.words[cause], database)} />
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Help({ how, command }: { how: string; command: string | undefined }) {
  return (
    <>
      {how} {command !== undefined && <CopyButton text={command} />}
    </>
  );
}

function Own() {
  const now = status.value;
  if (now === null) return null;
  const { recording, database } = now;
  if (recording === null) {
    return (
      <Card title="Own cost" figure="none" good about="Nothing is recording: stored profiles are served.">
        <Database />
      </Card>
    );
  }
  const ran = Date.now() - recording.since_ms;
  const share = ran > 0 ? recording.cpu_ms / ran : 0;
  return (
    <Card
      title="Own cost"
      figure={`${formatShare(share, 1)} of one core`}
      good={share < 0.01 * Math.max(recording.cpus, 1)}
      about="What the profiler itself takes of this host, with its children, which read foreign files."
    >
      <table class="facts">
        <tbody>
          <Fact
            name="processor time"
            value={`${formatNanos(recording.cpu_ms * 1e6)} in ${formatSpan(ran)}, ${formatNanos(recording.children_cpu_ms * 1e6)} of it by children`}
          />
          <Fact name="share of the host" value={formatShare(share / Math.max(recording.cpus, 1), 1)} />
          <Fact
            name="resident memory"
            value={`${formatBytes(recording.rss_bytes)}, ${formatBytes(recording.children_rss_bytes)} of it in children`}
          />
          <Fact name="sampling" value={`${recording.event} at ${rate(recording)} on ${recording.cpus} CPUs`} />
          <Fact name="windows of" value={formatSpan(recording.window_ms)} />
          <Fact name="newest window" value={`${formatSpan(recording.lag_ms)} old`} />
          {recording.unwind !== null && <Unwind unwind={recording.unwind} />}
        </tbody>
      </table>
      <Database />
      {database.oldest_ms === null && <p class="quiet">Nothing is stored yet.</p>}
    </Card>
  );
}

/** With the frequency wanted where the kernel's limit is below it. */
function rate({ hz, hz_wanted }: Recording): string {
  return hz < hz_wanted ? `${hz} Hz (the kernel's limit; ${hz_wanted} wanted)` : `${hz} Hz`;
}

/** What stands ready for walking stacks without frame pointers. */
function Unwind({ unwind }: { unwind: NonNullable<Recording["unwind"]> }) {
  const { files, rows, loading, processes, memory_bytes, memory_limit_bytes, evicted } = unwind;
  const waiting = loading > 0 ? `, ${formatCount(loading)} being read` : "";
  const dropped = evicted > 0 ? `; ${formatCount(evicted)} were dropped to stay below it` : "";
  return (
    <>
      <Fact
        name="unwind tables"
        value={`${formatCount(files)} files${waiting}, ${formatCount(rows)} rows for ${formatCount(processes)} processes`}
      />
      <Fact
        name="their memory"
        value={`${formatBytes(memory_bytes)} of ${formatBytes(memory_limit_bytes)}${dropped}`}
      />
    </>
  );
}

function Database() {
  const database = status.value?.database;
  if (database === undefined) return null;
  const { oldest_ms, newest_ms } = database;
  return (
    <table class="facts">
      <tbody>
        <Fact name="database" value={`${database.path}, ${formatBytes(database.bytes)}`} />
        <Fact name="windows" value={formatCount(database.windows)} />
        {oldest_ms !== null && newest_ms !== null && (
          <Fact name="from, to" value={`${formatMoment(oldest_ms)} – ${formatMoment(newest_ms)}`} />
        )}
      </tbody>
    </table>
  );
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <tr>
      <th scope="row">{name}</th>
      <td>{value}</td>
    </tr>
  );
}

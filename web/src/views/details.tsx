/** Everything about one frame: in the line below the graph, and beside the pointer. */

import { useEffect } from "preact/hooks";
import { FrameKind, KIND_NAMES } from "../model/call-tree";
import { diffInk, kindInk } from "../model/color";
import { NOISE_Z, type NodeDiff } from "../model/diff";
import { isCode } from "../model/function";
import { REASONS } from "../model/remedies";
import {
  baseName,
  formatCores,
  formatCoresChange,
  formatCount,
  formatNanos,
  formatPoints,
  formatSamples,
  formatShare,
} from "../model/units";
import { askForBuildIds, buildIds } from "../state/build-ids";
import { currentPane, type FrameFacts, factsOf } from "../state/pane";
import { scope } from "../state/store";
import { theme } from "../state/theme";
import { showCode } from "./frame-actions";
import { openFrameMenu } from "./frame-menu";

/** One line for screen readers. */
export function spoken(facts: FrameFacts): string {
  if (facts.diff !== null) {
    const { diff } = facts;
    return `${facts.name}, before ${amountBefore(diff)}, now ${amountAfter(diff)}, ${VERDICTS[diff.verdict]}`;
  }
  const self = facts.self > 0 ? `, itself ${formatShare(facts.self, facts.all)}` : "";
  return `${facts.name}, ${KIND_NAMES[facts.kind]}, ${formatShare(facts.total, facts.all)}${self}`;
}

/** The line below the graph: the frame under the pointer, else the chosen one, else the zoomed one. */
export function DetailsLine() {
  const pane = currentPane.value;
  void pane.tree.value;
  const focused = pane.focus.value;
  const chosen = pane.selected.value;
  const node = pane.hovered.value >= 0 ? pane.hovered.value : chosen >= 0 ? chosen : focused;
  const facts = factsOf(pane, node);
  const about = scope.value;
  const hasFile = facts !== null && facts.binary !== null;
  useEffect(() => {
    if (hasFile) askForBuildIds();
  }, [hasFile, about]);
  const nothingBefore = facts !== null && facts.diff !== null && facts.diff.allBefore === 0;
  if (facts === null || nothingBefore) return <div class="details" />;
  return (
    <div class="details" data-testid="details">
      <span class="swatch" style={{ background: theme.value.inks[kindInk(facts.kind)].fill }} />
      <strong class="name">{facts.name}</strong>
      {facts.diff === null ? <Numbers facts={facts} /> : <DiffNumbers diff={facts.diff} />}
      <span class="quiet where" title={whereText(facts, Number.POSITIVE_INFINITY)}>
        {whereText(facts, SHORT_ID)}
      </span>
      {isCode(facts.kind) && pane.tree.value !== null && (
        <button type="button" class="button small" title="Source and assembly (a)" onClick={() => showCode(pane, node)}>
          Source
        </button>
      )}
      <button
        type="button"
        class="button small"
        title="What can be done with this frame (m)"
        onClick={(event) => {
          const box = event.currentTarget.getBoundingClientRect();
          openFrameMenu(pane, node, box.right, box.top - 8);
        }}
      >
        Actions
      </button>
    </div>
  );
}

function Numbers({ facts }: { facts: FrameFacts }) {
  const { total, self, all, inView, measure } = facts;
  return (
    <span class="numbers">
      total <b>{formatShare(total, all)}</b>
      {inView !== all && total <= inView && (
        <>
          {" "}
          (<b>{formatShare(total, inView)}</b> of view)
        </>
      )}{" "}
      <span class="quiet">
        {formatNanos(total * measure.scale)}
        {measure.counts_samples && `, ${formatSamples(total)}`}
      </span>
      , self <b>{formatShare(self, all)}</b> <span class="quiet">{formatNanos(self * measure.scale)}</span>
    </span>
  );
}

const VERDICTS: Record<NodeDiff["verdict"], string> = {
  more: "more",
  less: "less",
  noise: "within the noise",
};

function DiffNumbers({ diff }: { diff: NodeDiff }) {
  const { before, after, verdict } = diff;
  const figure = figureOf(diff);
  return (
    <span class="numbers">
      before <b>{amountBefore(diff)}</b> <span class="quiet">({figure(before, 0)})</span>, now{" "}
      <b>{amountAfter(diff)}</b> <span class="quiet">({figure(after, 1)})</span>: <b>{changeOf(diff)}</b>{" "}
      {VERDICTS[verdict]}
    </span>
  );
}

/** Whether the numbers of both sides are samples. */
const counted = ({ measures }: NodeDiff): boolean => measures.every((of) => of.counts_samples);
/** A number of a side: samples, or CPU time where one side has no number of samples. */
const figureOf =
  (diff: NodeDiff) =>
  (n: number, side: 0 | 1): string =>
    counted(diff) ? formatCount(n) : formatNanos(n * diff.measures[side].scale);
const amountBefore = ({ before, allBefore, coresOf }: NodeDiff): string =>
  coresOf === null ? formatShare(before, allBefore) : `${formatCores(before * coresOf[0])} cores`;
const amountAfter = ({ after, allAfter, coresOf }: NodeDiff): string =>
  coresOf === null ? formatShare(after, allAfter) : `${formatCores(after * coresOf[1])} cores`;
const changeOf = ({ change, coresOf }: NodeDiff): string =>
  coresOf === null ? formatPoints(change) : formatCoresChange(change);

/** As many digits of a build id as tell builds apart. */
const SHORT_ID = 10;

function whereText(facts: FrameFacts, digits: number): string {
  return [facts.source, facts.binary, buildText(facts, digits), reasonText(facts)]
    .filter((part) => part !== null)
    .join(" · ");
}

/** Why a name is missing; a note says itself why a stack is cut short. */
function reasonText({ kind, reason }: FrameFacts): string | null {
  return reason === null || kind === FrameKind.Note ? null : (REASONS[reason]?.what ?? reason);
}

function buildText({ binary }: FrameFacts, digits: number): string | null {
  const ids = (binary === null ? undefined : buildIds.value.get(binary)) ?? [];
  if (ids.length === 0) return null;
  return `${ids.length === 1 ? "build id" : "build ids"} ${ids.map((id) => id.slice(0, digits)).join(", ")}`;
}

export function Tooltip({ facts }: { facts: FrameFacts }) {
  const build = buildText(facts, SHORT_ID);
  return (
    <>
      <p class="name">{facts.name}</p>
      {facts.diff === null ? <SampleTable facts={facts} /> : <DiffTable diff={facts.diff} />}
      <p class="quiet">
        <span class="swatch" style={{ background: theme.value.inks[kindInk(facts.kind)].fill }} />{" "}
        {KIND_NAMES[facts.kind]}
        {facts.binary !== null && ` in ${baseName(facts.binary)}`}
        {build !== null && ` · ${build}`}
      </p>
      {facts.source !== null && <p class="quiet">{facts.source}</p>}
      {reasonText(facts) !== null && <p class="quiet">{reasonText(facts)}</p>}
      {facts.kind === FrameKind.Remainder && (
        <p class="quiet">Stands for frames that are too small to be drawn: a click zooms in and loads them.</p>
      )}
    </>
  );
}

function SampleTable({ facts: { total, self, all, inView, measure } }: { facts: FrameFacts }) {
  const row = (label: string, samples: number) => (
    <tr>
      <th scope="row">{label}</th>
      <td>{formatShare(samples, all)}</td>
      {inView !== all && <td>{samples <= inView ? formatShare(samples, inView) : ""}</td>}
      <td class="quiet">{formatNanos(samples * measure.scale)}</td>
      {measure.counts_samples && <td class="quiet">{formatCount(samples)}</td>}
    </tr>
  );
  return (
    <table>
      <thead>
        <tr>
          <td />
          <th scope="col">of all</th>
          {inView !== all && <th scope="col">of view</th>}
          <th scope="col">CPU</th>
          {measure.counts_samples && <th scope="col">samples</th>}
        </tr>
      </thead>
      <tbody>
        {row("total", total)}
        {row("self", self)}
      </tbody>
    </table>
  );
}

function DiffTable({ diff }: { diff: NodeDiff }) {
  const { before, after } = diff;
  const figure = figureOf(diff);
  const row = (label: string, amount: string, figure: string, self: string) => (
    <tr>
      <th scope="row">{label}</th>
      <td>{amount}</td>
      <td class="quiet">{figure}</td>
      <td class="quiet">{self}</td>
    </tr>
  );
  const step = diff.verdict === "more" ? 3 : diff.verdict === "less" ? -3 : 0;
  return (
    <>
      <table>
        <thead>
          <tr>
            <td />
            <th scope="col">{diff.coresOf === null ? "of all" : "CPU"}</th>
            <th scope="col">{counted(diff) ? "samples" : "CPU"}</th>
            <th scope="col">self</th>
          </tr>
        </thead>
        <tbody>
          {row("before", amountBefore(diff), figure(before, 0), amountBefore({ ...diff, before: diff.beforeSelf }))}
          {row("now", amountAfter(diff), figure(after, 1), amountAfter({ ...diff, after: diff.afterSelf }))}
        </tbody>
      </table>
      <p>
        <span class="swatch" style={{ background: theme.value.inks[diffInk(step)].fill }} /> <b>{changeOf(diff)}</b>{" "}
        {VERDICTS[diff.verdict]}
        {diff.verdict === "noise" && ` (less than ${NOISE_Z} standard deviations)`}
      </p>
    </>
  );
}

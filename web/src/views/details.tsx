/** Everything about one frame: in the line below the graph, and beside the pointer. */

import { type CallTree, describeFrame, FrameKind } from "../model/call-tree";
import { KIND_LABELS } from "../model/color";
import { baseName, formatCount, formatNanos, formatShare } from "../model/units";
import { flame, focus, hovered, selected, theme, tree } from "../state/store";

export interface FrameFacts {
  name: string;
  kind: FrameKind;
  total: number;
  self: number;
  all: number;
  inView: number;
  nanosPerSample: number;
  binary: string | null;
  source: string | null;
  reason: string | null;
}

export function factsOf(at: CallTree, node: number, focused: number, nanosPerSample: number): FrameFacts {
  const frame = describeFrame(at.frames, at.frame[node]);
  return {
    ...frame,
    total: at.total[node],
    self: at.self[node],
    all: at.total[0],
    inView: at.total[focused],
    nanosPerSample,
  };
}

/** One line for screen readers. */
export function spoken(facts: FrameFacts): string {
  const self = facts.self > 0 ? `, itself ${formatShare(facts.self, facts.all)}` : "";
  return `${facts.name}, ${KIND_LABELS[facts.kind]}, ${formatShare(facts.total, facts.all)}${self}`;
}

/** The line below the graph: the frame under the pointer, else the chosen one, else the zoomed one. */
export function DetailsLine() {
  const at = tree.value;
  const answer = flame.value;
  if (at === null || answer === null) return <div class="details" />;
  const node = hovered.value >= 0 ? hovered.value : selected.value >= 0 ? selected.value : focus.value.node;
  const facts = factsOf(at, node, focus.value.node, answer.nanosPerSample);
  return (
    <div class="details" data-testid="details">
      <span class="swatch" style={{ background: theme.value.inks[facts.kind * 3].fill }} />
      <strong class="name">{facts.name}</strong>
      <Numbers facts={facts} />
      <span class="quiet where">{whereText(facts)}</span>
    </div>
  );
}

function Numbers({ facts }: { facts: FrameFacts }) {
  const { total, self, all, inView, nanosPerSample } = facts;
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
        {formatNanos(total * nanosPerSample)}, {formatCount(total)} samples
      </span>
      , self <b>{formatShare(self, all)}</b> <span class="quiet">{formatNanos(self * nanosPerSample)}</span>
    </span>
  );
}

function whereText(facts: FrameFacts): string {
  return [facts.source, facts.binary, facts.reason].filter((part) => part !== null).join(" · ");
}

export function Tooltip({ facts }: { facts: FrameFacts }) {
  const { total, self, all, inView, nanosPerSample } = facts;
  const row = (label: string, samples: number) => (
    <tr>
      <th scope="row">{label}</th>
      <td>{formatShare(samples, all)}</td>
      {inView !== all && <td>{samples <= inView ? formatShare(samples, inView) : ""}</td>}
      <td class="quiet">{formatNanos(samples * nanosPerSample)}</td>
      <td class="quiet">{formatCount(samples)}</td>
    </tr>
  );
  return (
    <>
      <p class="name">{facts.name}</p>
      <table>
        <thead>
          <tr>
            <td />
            <th scope="col">of all</th>
            {inView !== all && <th scope="col">of view</th>}
            <th scope="col">CPU</th>
            <th scope="col">samples</th>
          </tr>
        </thead>
        <tbody>
          {row("total", total)}
          {row("self", self)}
        </tbody>
      </table>
      <p class="quiet">
        <span class="swatch" style={{ background: theme.value.inks[facts.kind * 3].fill }} /> {KIND_LABELS[facts.kind]}
        {facts.binary !== null && ` in ${baseName(facts.binary)}`}
      </p>
      {facts.source !== null && <p class="quiet">{facts.source}</p>}
      {facts.reason !== null && <p class="quiet">{facts.reason}</p>}
      {facts.kind === FrameKind.Remainder && (
        <p class="quiet">Stands for frames too small to send. Narrow the range or the filter to see them.</p>
      )}
    </>
  );
}

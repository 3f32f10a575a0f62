/**
 * Files. What is shown, as the page has it: hidden, folded and zoomed frames, sandwich, both sides of a difference. And, as the server
 * has them, all samples of the range (or the heat map's box) and filter, whatever is hidden or zoomed.
 */

import { downloadAddress } from "../api/client";
import { differenceLines, foldedLines } from "../model/folded";
import { hullOf } from "../model/heat-cells";
import { formatInterval, formatMoment } from "../model/units";
import { diff } from "../state/diff";
import { focus, tree } from "../state/flame";
import { cut } from "../state/sandwich";
import { answeredMillis, flame, questions, scope, shown } from "../state/store";
import { DownloadIcon } from "./icons";
import { Menu } from "./menu";

const DOWNLOADS = [
  { path: "export/folded", file: "folded", name: "Folded stacks", what: "text, one stack a line" },
  { path: "export/svg", file: "svg", name: "Flame graph", what: "SVG, opens anywhere" },
  { path: "export/html", file: "html", name: "Page", what: "HTML, stands alone, zoom and search" },
  { path: "export/pprof", file: "pb.gz", name: "pprof", what: "for go tool pprof and others" },
  { path: "flamegraph", file: "flamegraph.json", name: "Call tree", what: "JSON, in columns" },
  { path: "top", file: "top.json", name: "Functions", what: "JSON, self and total" },
] as const;

export function DownloadMenu() {
  const about = scope.value;
  const box = shown.box.value;
  // Of the times that are on the screen, as the link of a view is.
  void flame.value;
  const answered = answeredMillis(Date.now());
  const times = box === null ? answered : { from: about.from, to: about.to };
  const name = `profile-${stamp(answered.from)}-${stamp(answered.to)}`;
  return (
    <Menu label="Download" closesOnClick face={<DownloadIcon />} class="icon-menu">
      <p class="menu-title">What is shown, as text</p>
      {shownFiles().map(({ label, what, suffix, lines }) => (
        <button key={label} type="button" onClick={() => save(`${name}-${suffix}`, lines())}>
          {label}
          <span class="quiet">{what}</span>
        </button>
      ))}
      <p class="menu-title part">
        All samples of {spanText(answered, box)}
        <span class="quiet">and this filter, whatever the page hides or zooms out of</span>
      </p>
      {DOWNLOADS.map(({ path, file, name: label, what }) => (
        <a key={path} href={downloadAddress(path, { ...about, ...times }, box)} download={`${name}.${file}`}>
          {label}
          <span class="quiet">{what}</span>
        </a>
      ))}
    </Menu>
  );
}

function spanText({ from, to }: { from: number; to: number }, box: (typeof shown.box)["value"]): string {
  if (box === null) return formatInterval(from, to);
  const hull = hullOf({ fromMs: from, toMs: to, columns: box.columns, rows: box.rows }, box);
  return `the box ${formatInterval(hull.from, hull.to)}`;
}

interface ShownFile {
  label: string;
  what: string;
  suffix: string;
  lines: () => string;
}

/** One for each graph or table in sight. */
function shownFiles(): ShownFile[] {
  switch (shown.tab.value) {
    case "sandwich": {
      const halves = cut.value;
      if (halves === null) return [NOTHING];
      return [
        {
          label: "Callers",
          what: "folded stacks, the function first",
          suffix: "callers.folded",
          lines: () => foldedLines(halves.callers, 0),
        },
        {
          label: "Callees",
          what: "folded stacks, the function first",
          suffix: "callees.folded",
          lines: () => foldedLines(halves.callees, 0),
        },
      ];
    }
    case "diff": {
      const compared = diff.value;
      if (compared === null) return [NOTHING];
      return [
        {
          label: "Difference",
          what: "folded stacks with two counts: before, now",
          suffix: "difference.folded",
          lines: () => differenceLines(compared),
        },
      ];
    }
    case "table": {
      const answer = questions.top.state.value.answer;
      if (answer === null) return [NOTHING];
      return [
        {
          label: "Table",
          what: "rows with tabs between: samples of self and total",
          suffix: "functions.tsv",
          lines: () => tableLines(answer.rows),
        },
      ];
    }
    default: {
      const at = tree.value;
      if (at === null) return [NOTHING];
      const node = focus.value.node;
      const small = at.frames.kind.includes(REMAINDER) ? ", frames too small to send in [smaller frames]" : "";
      return [
        {
          label: "Folded stacks",
          what: `one stack a line${small}`,
          suffix: "shown.folded",
          lines: () => foldedLines(at, node),
        },
      ];
    }
  }
}

const REMAINDER = 7;
const NOTHING: ShownFile = { label: "Nothing is shown yet", what: "", suffix: "empty.txt", lines: () => "" };

function tableLines(
  rows: readonly {
    name: string;
    binary: string | null;
    file: string | null;
    line: number | null;
    self: number;
    total: number;
  }[],
): string {
  const plain = (text: string | number | null) => String(text ?? "").replace(/[\t\r\n]/g, " ");
  const line = (cells: readonly (string | number | null)[]) => `${cells.map(plain).join("\t")}\n`;
  const head = line(["self", "total", "function", "binary", "file", "line"]);
  return head + rows.map((row) => line([row.self, row.total, row.name, row.binary, row.file, row.line])).join("");
}

/** `20261130T021500`, as on the page's clock. */
function stamp(ms: number): string {
  return formatMoment(ms).replace(/[-:]/g, "").replace(" ", "T");
}

function save(name: string, text: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = name;
  link.click();
  // The browser has begun to read it by then.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

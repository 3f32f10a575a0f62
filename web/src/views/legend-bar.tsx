/** What the colours mean, and how much each has; a click highlights its frames, so that the search says their exact share. */

import { diffInk } from "../model/color";
import { COLOR_MODES, type ColorMode } from "../model/coloring";
import { NOISE_Z } from "../model/diff";
import { formatShare } from "../model/units";
import { coloring, tree } from "../state/flame";
import { navigate, questions, shown, view } from "../state/store";
import { theme } from "../state/theme";
import { LABEL_NAMES } from "./facets";

/** What stands between the root and the processes. */
function GroupBy() {
  const labels = questions.labels.state.value.answer?.labels ?? [];
  const group = shown.group.value;
  return (
    <label class="color-mode">
      Group by{" "}
      <select
        value={group ?? ""}
        onChange={(event) => navigate({ group: event.currentTarget.value || null, zoom: null })}
      >
        <option value="">nothing</option>
        {labels
          .filter((label) => label !== "comm" || group === "comm")
          .map((label) => (
            <option key={label} value={label}>
              {(LABEL_NAMES[label] ?? label).toLowerCase()}
            </option>
          ))}
      </select>
    </label>
  );
}

/** Neither is where samples end. */
const LEGEND_VERBS: Readonly<Record<string, string>> = {
  "cut short": "have a stack that is",
  collapsed: "end in frames that are",
};

const MODE_LABELS: Record<ColorMode, string> = { kind: "kind", package: "package", binary: "binary", name: "function" };

export function LegendBar() {
  const color = shown.color.value;
  const search = shown.search.value;
  const all = tree.value?.total[0] ?? 0;
  return (
    <div class="legend-bar">
      <label class="color-mode">
        Colour by{" "}
        <select
          value={color}
          onChange={(event) => navigate({ color: event.currentTarget.value as ColorMode }, "replace")}
        >
          {COLOR_MODES.map((mode) => (
            <option key={mode} value={mode}>
              {MODE_LABELS[mode]}
            </option>
          ))}
        </select>
      </label>
      <GroupBy />
      <ul class="legend" aria-label="Colours">
        {coloring.value.legend.map((entry) => (
          <li key={entry.label}>
            <button
              type="button"
              aria-pressed={entry.search !== null && entry.search === search}
              disabled={entry.search === null}
              title={`${formatShare(entry.self, all)} of the samples ${LEGEND_VERBS[entry.label] ?? "ended in"} ${entry.label}. Click to highlight, Alt+click to hide`}
              onClick={(event) => {
                const rule = entry.search;
                if (rule === null) return;
                const { tidy } = view.peek();
                if (event.altKey) navigate({ tidy: { ...tidy, hide: [...tidy.hide.filter((r) => r !== rule), rule] } });
                else navigate({ search: search === rule ? "" : rule }, "replace");
              }}
            >
              <span
                class={entry.label === "cut short" ? "swatch hatched" : "swatch"}
                style={{ backgroundColor: theme.value.inks[entry.ink].fill }}
              />
              {entry.label} <span class="quiet">{formatShare(entry.self, all)}</span>
            </button>
          </li>
        ))}
        {color === "name" && <li class="quiet">each function has a colour of its own</li>}
      </ul>
    </div>
  );
}

/** The same for a diff. */
export function DiffLegend() {
  const swatch = (step: number) => (
    <span class="swatch" style={{ backgroundColor: theme.value.inks[diffInk(step)].fill }} />
  );
  return (
    <div class="legend-bar">
      <ul class="legend" aria-label="Colours">
        <li>
          {swatch(-4)}
          {swatch(-2)} takes less than before
        </li>
        <li>
          {swatch(0)} within the noise (chance does as much: under {NOISE_Z} standard deviations)
        </li>
        <li>
          {swatch(2)}
          {swatch(4)} takes more
        </li>
      </ul>
    </div>
  );
}

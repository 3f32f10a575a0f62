/** Who and what: product, host, what is sampled; then when: range, live; then downloads, theme, help. */

import { useSignal } from "@preact/signals";
import { behindMs, lateText } from "../model/late";
import { PRESETS } from "../model/time-range";
import { formatMoment, formatSpan, fromLocalInput, toLocalInput } from "../model/units";
import { everything, isHistory, shownPreset, showPreset } from "../state/range";
import { navigate, scopeMillis, shown, status, view } from "../state/store";
import { nextTheme, themeChoice } from "../state/theme";
import { DEFAULT_VIEW, isLive } from "../state/view";
import { setUtc, utc, zoneName } from "../state/zone";
import { DownloadMenu } from "./download-menu";
import { FilterBar } from "./filter-bar";
import { openHelp } from "./help";
import { BrandIcon, CalendarIcon, HelpIcon, MoonIcon, SunIcon, SystemIcon } from "./icons";
import { Menu } from "./menu";
import { ViewsMenu } from "./views-menu";

export function TopBar() {
  return (
    <header class="top-bar">
      <div class="identity">
        <h1>
          <BrandIcon />
          profiler
        </h1>
        <Host />
      </div>
      <FilterBar />
      <div class="controls">
        <RangePicker />
        <LiveSwitch />
        <ViewsMenu />
        <DownloadMenu />
        <ThemeButton />
        <button
          type="button"
          class="button icon-only"
          aria-label="Keyboard shortcuts"
          title="Keyboard shortcuts (?)"
          onClick={openHelp}
        >
          <HelpIcon />
        </button>
      </div>
    </header>
  );
}

function Host() {
  const now = status.value;
  if (now === null) return null;
  const { recording } = now;
  return (
    <p class="host">
      <strong>{now.host}</strong>
      <span class="quiet">
        {recording === null
          ? "stored profiles, not recording"
          : `${recording.event}, ${recording.hz} Hz, ${recording.cpus} ${recording.cpus === 1 ? "CPU" : "CPUs"}`}
      </span>
    </p>
  );
}

function RangePicker() {
  const from = shown.from.value;
  const to = shown.to.value;
  const preset = shownPreset({ from, to });
  return (
    <div class="range">
      {/* biome-ignore lint/a11y/useSemanticElements: a fieldset cannot be laid out as a row of joined buttons everywhere */}
      <div class="segments" role="group" aria-label="Time range">
        {PRESETS.map((p) => (
          <button
            type="button"
            key={p.from}
            title={p.title}
            aria-pressed={p === preset}
            onClick={() => showPreset(p.from)}
          >
            {p.label}
          </button>
        ))}
      </div>
      <Menu
        label={preset === undefined ? `${rangeText(from, to)}: choose from and to` : "Choose from and to"}
        class={preset === undefined ? "custom chosen" : "custom"}
        face={
          <>
            <CalendarIcon />
            {preset === undefined && <span class="range-text">{rangeText(from, to)}</span>}
          </>
        }
      >
        <AbsoluteRange />
      </Menu>
    </div>
  );
}

function rangeText(from: string | number, to: string | number): string {
  const text = (instant: string | number) => (typeof instant === "number" ? formatMoment(instant) : instant);
  const [start, end] = [text(from), text(to)];
  const [day, time] = end.split(" ");
  // A day is said once.
  return `${start} – ${time !== undefined && start.startsWith(day) ? time : end}`;
}

function AbsoluteRange() {
  const problem = useSignal("");
  const { from, to } = scopeMillis(Date.now());
  const kept = everything();
  return (
    <form
      class="absolute-range"
      onSubmit={(event) => {
        event.preventDefault();
        const form = new FormData(event.currentTarget);
        const chosenFrom = fromLocalInput(String(form.get("from")));
        const chosenTo = fromLocalInput(String(form.get("to")));
        if (chosenFrom === null || chosenTo === null || chosenFrom >= chosenTo) {
          problem.value = "The start must be before the end.";
          return;
        }
        problem.value = "";
        navigate({ from: chosenFrom, to: chosenTo, brush: null });
        event.currentTarget.closest("details")?.removeAttribute("open");
      }}
    >
      <label>
        From
        <input type="datetime-local" name="from" step="1" defaultValue={toLocalInput(from)} required />
      </label>
      <label>
        To
        <input type="datetime-local" name="to" step="1" defaultValue={toLocalInput(to)} required />
      </label>
      {problem.value !== "" && <p class="problem">{problem}</p>}
      <button type="submit" class="button primary">
        Show this range
      </button>
      {kept !== null && typeof kept.from === "number" && (
        <button
          type="button"
          class="button"
          onClick={(event) => {
            navigate({ ...kept, brush: null });
            event.currentTarget.closest("details")?.removeAttribute("open");
          }}
        >
          All that is kept, since {formatMoment(kept.from).slice(0, 16)}
        </button>
      )}
      <p class="quiet">Times are in {zoneName()}.</p>
      <label class="choice">
        <input type="checkbox" checked={utc.value} onChange={(event) => setUtc(event.currentTarget.checked)} />
        <span>
          Show all times in UTC
          <span class="quiet">as logs often have them</span>
        </span>
      </label>
    </form>
  );
}

function LiveSwitch() {
  const live = isLive({ live: shown.live.value, from: shown.from.value, to: shown.to.value });
  const fixed = typeof shown.to.value === "number";
  const over = isHistory();
  const behind = live ? behindMs(status.value?.recording ?? null) : 0;
  return (
    <button
      type="button"
      class={behind > 0 ? "button live behind" : "button live"}
      role="switch"
      aria-checked={live}
      disabled={over}
      title={
        over
          ? "Nothing is recording: there is no present to follow"
          : fixed
            ? "Follow the present (l)"
            : live
              ? behind > 0
                ? `The newest samples are ${formatSpan(behind)} old: ${lateText(status.value?.recording ?? null)}. Stop following (l)`
                : "Stop following (l)"
              : "Follow the present (l)"
      }
      onClick={toggleLive}
    >
      <span class="dot" />
      Live{behind > 0 && <span class="quiet"> {formatSpan(behind)} behind</span>}
    </button>
  );
}

/** Follows the present, or stops. From a fixed range it goes to the last hour. */
export function toggleLive(): void {
  if (isHistory()) return;
  const now = view.peek();
  if (typeof now.to === "number") navigate({ from: DEFAULT_VIEW.from, to: "now", brush: null, live: true });
  else navigate({ live: !now.live });
}

function ThemeButton() {
  const choice = themeChoice.value;
  const label = `Theme: ${choice}. Change (t)`;
  return (
    <button type="button" class="button icon-only" aria-label={label} title={label} onClick={nextTheme}>
      {choice === "system" ? <SystemIcon /> : choice === "light" ? <SunIcon /> : <MoonIcon />}
    </button>
  );
}

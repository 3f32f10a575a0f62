/** The page: bars, labels, timeline, and the panel with one of its views. */

import { useSignalEffect } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { diffPane } from "../state/diff";
import { focus, zoomOutWholly } from "../state/flame";
import { currentPane, mainPane } from "../state/pane";
import { calleesPane } from "../state/sandwich";
import { rememberViews } from "../state/saved";
import { announcement, navigate, questions, shown, status } from "../state/store";
import type { Tab } from "../state/view";
import { utc } from "../state/zone";
import { Code } from "./code";
import { DetailsLine } from "./details";
import { Diff } from "./diff";
import { emptyState } from "./empty";
import { Facets } from "./facets";
import { installKeys } from "./flame-keys";
import { FlamePane } from "./flame-pane";
import { FrameMenu } from "./frame-menu";
import { HeatMap } from "./heat-map";
import { Help } from "./help";
import { HottestLine } from "./hottest";
import { FlipIcon, ResetIcon } from "./icons";
import { LegendBar } from "./legend-bar";
import { Notices } from "./notices";
import { Quality } from "./quality";
import { QualityStrip } from "./quality-strip";
import { Sandwich } from "./sandwich";
import { SearchBox } from "./search-box";
import { TidyMenu } from "./tidy-menu";
import { Timeline } from "./timeline";
import { TopBar } from "./top-bar";
import { TopTable } from "./top-table";
import { TreeGrid } from "./tree-grid";

export function App() {
  useEffect(installKeys, []);
  useEffect(rememberViews, []);
  useSignalEffect(() => {
    const tab = shown.tab.value;
    currentPane.value = tab === "sandwich" ? calleesPane : tab === "diff" ? diffPane : mainPane;
  });
  const host = status.value?.host;
  useEffect(() => {
    document.title = host === undefined ? "profiler" : `${host} – profiler`;
  }, [host]);
  return (
    // Another time zone is another page: everything is written anew.
    <div class="app" key={String(utc.value)}>
      <a class="skip" href="#panel">
        Skip to the graph
      </a>
      <TopBar />
      <Notices />
      <div class="body">
        <Facets />
        <main>
          <Timeline />
          <Panel />
        </main>
      </div>
      <QualityStrip />
      <Help />
      <FrameMenu />
      <p class="visually-hidden" aria-live="polite">
        {announcement}
      </p>
    </div>
  );
}

const PANELS: readonly { tab: Tab; label: string; view: () => preact.ComponentChild }[] = [
  { tab: "flame", label: "Flame graph", view: () => <MainGraph /> },
  { tab: "tree", label: "Tree", view: () => <TreeGrid /> },
  { tab: "table", label: "Table", view: () => <TopTable /> },
  { tab: "sandwich", label: "Sandwich", view: () => <Sandwich /> },
  { tab: "diff", label: "Diff", view: () => <Diff /> },
  { tab: "heatmap", label: "Heat map", view: () => <HeatMap /> },
  { tab: "source", label: "Source", view: () => <Code /> },
  { tab: "quality", label: "Quality", view: () => <Quality /> },
];
const WITH_GRAPH: readonly Tab[] = ["flame", "sandwich", "diff"];
const WITH_SEARCH: readonly Tab[] = ["flame", "tree", "table", "sandwich", "diff"];

function Panel() {
  const tab = shown.tab.value;
  const asked = tab === "table" ? questions.top : tab === "diff" ? questions.diff : questions.flame;
  const { loading, stale } = asked.state.value;
  const empty = emptyState(tab);
  return (
    <section class={stale && tab !== "quality" ? "panel old" : "panel"} aria-busy={loading}>
      <div class="panel-bar">
        <Tabs />
        {WITH_SEARCH.includes(tab) && <SearchBox />}
        <span class="gap" />
        {WITH_GRAPH.includes(tab) && <GraphTools />}
      </div>
      <div class="panel-content" id="panel" role="tabpanel" tabIndex={-1} aria-labelledby={`tab-${tab}`}>
        {empty ?? PANELS.find((panel) => panel.tab === tab)?.view()}
      </div>
      {empty === null && WITH_GRAPH.includes(tab) && <DetailsLine />}
    </section>
  );
}

function MainGraph() {
  return (
    <>
      <HottestLine />
      <FlamePane pane={mainPane} />
      <LegendBar />
    </>
  );
}

/** Arrow keys move between the tabs, as the ARIA practices have it. */
function Tabs() {
  const tab = shown.tab.value;
  // In a narrow window the row of tabs scrolls.
  useEffect(
    () => document.getElementById(`tab-${tab}`)?.scrollIntoView({ block: "nearest", inline: "nearest" }),
    [tab],
  );
  const step = (event: KeyboardEvent): void => {
    const by = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (by === 0) return;
    event.preventDefault();
    const at = PANELS.findIndex((panel) => panel.tab === tab);
    const next = PANELS[(at + by + PANELS.length) % PANELS.length].tab;
    navigate({ tab: next });
    document.getElementById(`tab-${next}`)?.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label="View" onKeyDown={step}>
      {PANELS.map((entry, i) => (
        <button
          type="button"
          key={entry.tab}
          role="tab"
          id={`tab-${entry.tab}`}
          aria-selected={tab === entry.tab}
          aria-controls="panel"
          tabIndex={tab === entry.tab ? 0 : -1}
          title={`${entry.label} (${i + 1})`}
          onClick={() => navigate({ tab: entry.tab })}
        >
          {entry.label}
        </button>
      ))}
    </div>
  );
}

function GraphTools() {
  const tab = shown.tab.value;
  const zoom = shown.zoom.value;
  const rootBelow = shown.rootBelow.value;
  return (
    <div class="flame-tools">
      {tab === "flame" && focus.value.missing && <span class="quiet">The zoomed frame is not in this view.</span>}
      {zoom !== null && tab !== "sandwich" && (
        <button
          type="button"
          class="button icon-only small"
          aria-label="Reset zoom"
          title="Zoom out completely (0)"
          onClick={zoomOutWholly}
        >
          <ResetIcon />
        </button>
      )}
      <TidyMenu />
      {tab !== "sandwich" && (
        <button
          type="button"
          class="button icon-only small"
          aria-pressed={rootBelow}
          aria-label="Root at the bottom"
          title={rootBelow ? "Put the root at the top (i)" : "Put the root at the bottom (i)"}
          onClick={() => navigate({ rootBelow: !rootBelow })}
        >
          <FlipIcon />
        </button>
      )}
    </div>
  );
}

/** The page: bars, sidebar, timeline, and the panel with flame graph or table. */

import { useEffect } from "preact/hooks";
import { announcement, focus, navigate, questions, select, status, view } from "../state/store";
import type { Tab } from "../state/view";
import { DetailsLine } from "./details";
import { emptyState } from "./empty";
import { FlameGraph, Legend } from "./flame-graph";
import { installKeys } from "./flame-keys";
import { Help } from "./help";
import { FlipIcon, ResetIcon } from "./icons";
import { Notices } from "./notices";
import { ProcessFacet } from "./process-facet";
import { QualityStrip } from "./quality-strip";
import { SearchBox } from "./search-box";
import { Timeline } from "./timeline";
import { TopBar } from "./top-bar";
import { TopTable } from "./top-table";

export function App() {
  useEffect(installKeys, []);
  const host = status.value?.host;
  useEffect(() => {
    document.title = host === undefined ? "profiler" : `${host} – profiler`;
  }, [host]);
  return (
    <div class="app">
      <TopBar />
      <Notices />
      <div class="body">
        <ProcessFacet />
        <main>
          <Timeline />
          <Panel />
        </main>
      </div>
      <QualityStrip />
      <Help />
      <p class="visually-hidden" aria-live="polite">
        {announcement}
      </p>
    </div>
  );
}

const TABS: readonly { tab: Tab; label: string }[] = [
  { tab: "flame", label: "Flame graph" },
  { tab: "table", label: "Table" },
];

function Panel() {
  const { tab } = view.value;
  const asked = tab === "table" ? questions.top.state.value : questions.flame.state.value;
  const empty = emptyState();
  return (
    <section class="panel" aria-busy={asked.loading}>
      <div class="panel-bar">
        <div class="tabs" role="tablist" aria-label="View">
          {TABS.map((entry) => (
            <button
              type="button"
              key={entry.tab}
              role="tab"
              id={`tab-${entry.tab}`}
              aria-selected={tab === entry.tab}
              aria-controls="panel"
              onClick={() => navigate({ tab: entry.tab })}
            >
              {entry.label}
            </button>
          ))}
        </div>
        <SearchBox />
        <span class="gap" />
        {tab === "flame" && <FlameTools />}
      </div>
      <div class="panel-content" id="panel" role="tabpanel" aria-labelledby={`tab-${tab}`}>
        {empty ?? (tab === "table" ? <TopTable /> : <FlameGraph />)}
      </div>
      {empty === null && tab === "flame" && <DetailsLine />}
    </section>
  );
}

function FlameTools() {
  const { zoom, rootBelow } = view.value;
  return (
    <div class="flame-tools">
      <Legend />
      {focus.value.missing && <span class="quiet">The zoomed frame is not in this range.</span>}
      {zoom !== null && (
        <button
          type="button"
          class="button small"
          title="Zoom out completely (0)"
          onClick={() => {
            select(-1);
            navigate({ zoom: null });
          }}
        >
          <ResetIcon /> Reset zoom
        </button>
      )}
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
    </div>
  );
}

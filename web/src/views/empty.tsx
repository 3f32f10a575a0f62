/** What stands where the graph would, when there is none: why, and the way out. */

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { quoted } from "../model/remedies";
import { formatMoment, formatSpan } from "../model/units";
import { type EmptyReason, whyEmpty } from "../model/why-empty";
import { rangeOf } from "../state/range";
import { retryNow } from "../state/refresh";
import {
  failure,
  filterProblem,
  flame,
  loginProblem,
  navigate,
  questions,
  scopeMillis,
  shown,
  status,
} from "../state/store";
import type { Tab } from "../state/view";
import { CopyButton } from "./copy-button";

const HOUR_MS = 3_600_000;

/** Null when there is something to draw. */
export function emptyState(tab: Tab) {
  const filter = shown.filter.value;
  const brush = shown.brush.value;
  const box = shown.box.value;
  const why = failure.value;
  const asked = tab === "table" ? questions.top.state.value : questions.flame.state.value;
  if (tab === "quality" || tab === "heatmap" || tab === "source") return null;
  if (loginProblem.value !== null) {
    return (
      <Message title="Your session has ended">
        <p>What to do stands above. This page goes on by itself afterwards.</p>
        <div class="actions">
          <button type="button" class="button" onClick={retryNow}>
            Ask again
          </button>
        </div>
      </Message>
    );
  }
  if (why?.kind === "refused" && why.problem.code === "query_too_large") {
    return (
      <Message title="The question is too large">
        <p>{why.problem.detail} A shorter range or a narrower filter has an answer.</p>
        <div class="actions">
          <button type="button" class="button primary" onClick={() => navigate({ ...rangeOf("now-15m"), brush: null })}>
            Show the last 15 minutes
          </button>
          <button type="button" class="button" onClick={retryNow}>
            Ask again
          </button>
        </div>
      </Message>
    );
  }
  if (why?.kind === "refused") {
    return (
      <Message title={filterProblem.value === null ? why.problem.title : "The filter has an error"}>
        <p>
          {filterProblem.value === null
            ? why.problem.detail
            : "The message below the filter says what is wrong with it."}
        </p>
        <div class="actions">
          {filter !== "" && <RemoveFilter />}
          <button type="button" class="button" onClick={retryNow}>
            Ask again
          </button>
        </div>
      </Message>
    );
  }
  if (why?.kind === "malformed") {
    return (
      <Message title="The answer makes no sense">
        <p>{why.message}. Page and profiler may be of different versions: reload the page.</p>
        <div class="actions">
          <button type="button" class="button" onClick={() => location.reload()}>
            Reload
          </button>
        </div>
      </Message>
    );
  }
  if (asked.answer === null) {
    return why?.kind === "unreachable" ? (
      <Message title="The profiler does not answer">
        <p>It may have been stopped. Start it again; this page reconnects by itself.</p>
        <CopyButton text={startCommand()} />
      </Message>
    ) : (
      <div class="empty loading" role="status">
        Loading …
      </div>
    );
  }
  if (asked.answer.samples > 0) return null;
  const range =
    tab !== "table" && flame.value !== null
      ? { from: flame.value.fromMs, to: flame.value.toMs }
      : scopeMillis(Date.now());
  const reason = whyEmpty(status.value, range, {
    byFilter: filter !== "",
    bySelection: brush !== null || box !== null,
  });
  return <Reason reason={reason} />;
}

/** What was running when it last answered. */
function startCommand(): string {
  const last = status.value;
  return last !== null && last.recording === null
    ? `profiler serve ${quoted(last.database.path)}`
    : "sudo profiler run";
}

function Reason({ reason }: { reason: EmptyReason }) {
  switch (reason.kind) {
    case "waiting":
      return <Waiting sinceMs={reason.sinceMs} windowMs={reason.windowMs} />;
    case "no-windows":
      return (
        <Message title="This database has no profiles yet">
          <p>
            <code>{reason.path}</code> is open for reading only. Record into it:
          </p>
          <CopyButton text={`sudo profiler run --db ${quoted(reason.path)}`} />
        </Message>
      );
    case "before-oldest":
      return (
        <Message title="Nothing was kept from that time">
          <p>The oldest profile is from {formatMoment(reason.oldestMs)}.</p>
          <div class="actions">
            <button
              type="button"
              class="button primary"
              onClick={() => navigate({ from: reason.oldestMs, to: reason.oldestMs + HOUR_MS, brush: null })}
            >
              Show the oldest hour
            </button>
            <ShowLastHour />
          </div>
        </Message>
      );
    case "after-newest":
      return (
        <Message title="Nothing is recorded that late">
          <p>
            The newest profile ends at {formatMoment(reason.newestMs)}
            {status.value?.recording === null && ", and nothing is recording now"}.
          </p>
          {status.value?.recording === null && (
            <CopyButton text={`sudo profiler run --db ${quoted(status.value.database.path)}`} />
          )}
          <div class="actions">
            <button
              type="button"
              class="button primary"
              onClick={() => navigate({ from: reason.newestMs - HOUR_MS, to: reason.newestMs, brush: null })}
            >
              Show the newest hour
            </button>
          </div>
        </Message>
      );
    case "filtered":
      return (
        <Message title="No sample passes the filter">
          <p>
            <code>{shown.filter.value}</code> leaves nothing in this range.
          </p>
          <div class="actions">
            <RemoveFilter />
          </div>
        </Message>
      );
    case "selection":
      return (
        <Message title="No sample in the selection">
          <p>Nothing ran then, or nothing was recorded.</p>
          <div class="actions">
            <button type="button" class="button primary" onClick={() => navigate({ brush: null, box: null })}>
              Show the whole range
            </button>
          </div>
        </Message>
      );
    case "idle":
      return (
        <Message title="No sample in this range">
          <p>Nothing ran on a processor then, or the profiler was not running.</p>
          <div class="actions">
            <ShowLastHour />
          </div>
        </Message>
      );
  }
}

/** Counts the seconds until the first window is there. */
function Waiting({ sinceMs, windowMs }: { sinceMs: number; windowMs: number }) {
  const now = useSignal(Date.now());
  useEffect(() => {
    const timer = setInterval(() => {
      now.value = Date.now();
    }, 1000);
    return () => clearInterval(timer);
  }, [now]);
  return (
    <Message title="Recording the first samples">
      <p>
        Recording started {formatSpan(Math.max(0, now.value - sinceMs))} ago. The first profile is stored after about{" "}
        {formatSpan(windowMs)} and appears here by itself.
      </p>
      <div class="progress" role="presentation" />
    </Message>
  );
}

function RemoveFilter() {
  return (
    <button type="button" class="button primary" onClick={() => navigate({ filter: "" })}>
      Remove the filter
    </button>
  );
}

function ShowLastHour() {
  return (
    <button type="button" class="button" onClick={() => navigate({ ...rangeOf("now-1h"), brush: null, live: true })}>
      Show the last hour
    </button>
  );
}

function Message(props: { title: string; children: preact.ComponentChildren }) {
  return (
    <div class="empty" role="status">
      <h2>{props.title}</h2>
      {props.children}
    </div>
  );
}

/** What a person should know before trusting the page: the server is gone, or it has something to say. */

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { Problem } from "../api/contract";
import { linkCommand } from "../model/link-command";
import { retryNow } from "../state/refresh";
import { connection, loginProblem, status, unread, view } from "../state/store";
import { writeView } from "../state/view";
import { CopyButton } from "./copy-button";
import { WarningIcon } from "./icons";

export function Notices() {
  // What it had to say then is not what it has to say now.
  const notices = loginProblem.value === null ? (status.value?.notices ?? []) : [];
  return (
    <div class="notices">
      {connection.value.lost && <Lost retryAt={connection.value.retryAt} />}
      {loginProblem.value !== null && <LoggedOut problem={loginProblem.value} />}
      {unread.value.length > 0 && (
        <p class="notice" role="status">
          <WarningIcon /> The address has parts that cannot be read, and the page goes without them:{" "}
          <code>{unread.value.join(" ").slice(0, 200)}</code>
          <button
            type="button"
            class="link"
            onClick={() => {
              unread.value = [];
              window.history.replaceState(null, "", writeView(view.peek()) || location.pathname);
            }}
          >
            Remove them
          </button>
        </p>
      )}
      {notices.map((notice) => (
        <p class="notice" key={notice} role="status">
          <WarningIcon /> {notice}
        </p>
      ))}
    </div>
  );
}

/** The page goes on by itself when the browser has a session again: it asks every few seconds, and when it is looked at. */
function LoggedOut({ problem }: { problem: Problem }) {
  // The page knows the path that a proxy serves it under; the server does not.
  const command = problem.command && (linkCommand(status.value?.database.path ?? null, location) ?? problem.command);
  return (
    <p class="notice bad" role="alert">
      <WarningIcon /> Your session has ended.
      {command !== null ? (
        <>
          {" "}
          Open the link that this prints on the profiler's host, in any tab: <CopyButton text={command} />
        </>
      ) : (
        ` To log in: ${problem.detail}.`
      )}
    </p>
  );
}

function Lost({ retryAt }: { retryAt: number }) {
  const now = useSignal(Date.now());
  useEffect(() => {
    const timer = setInterval(() => {
      now.value = Date.now();
    }, 500);
    return () => clearInterval(timer);
  }, [now]);
  const seconds = Math.max(0, Math.ceil((retryAt - now.value) / 1000));
  return (
    <p class="notice bad" role="alert">
      <WarningIcon /> The profiler does not answer. Asking again {seconds > 0 ? `in ${seconds} s` : "now"}.
      <button type="button" class="link" onClick={retryNow}>
        Ask now
      </button>
    </p>
  );
}

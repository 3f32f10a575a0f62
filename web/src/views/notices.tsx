/** What a person should know before trusting the page: the server is gone, or it has something to say. */

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { retryNow } from "../state/refresh";
import { connection, status } from "../state/store";
import { WarningIcon } from "./icons";

export function Notices() {
  const notices = status.value?.notices ?? [];
  return (
    <div class="notices">
      {connection.value.lost && <Lost retryAt={connection.value.retryAt} />}
      {notices.map((notice) => (
        <p class="notice" key={notice} role="status">
          <WarningIcon /> {notice}
        </p>
      ))}
    </div>
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

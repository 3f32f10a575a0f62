/** A command or text with a button that copies it. */

import { useSignal } from "@preact/signals";
import { copy } from "./frame-actions";

export function CopyButton({ text }: { text: string }) {
  const state = useSignal<"copy" | "copied" | "not copied">("copy");
  return (
    <button
      type="button"
      class="copy"
      title="Copy"
      onClick={async () => {
        state.value = (await copy(text, `Copied ${text}`)) ? "copied" : "not copied";
      }}
    >
      <code>{text}</code> <span class="quiet">{state}</span>
    </button>
  );
}

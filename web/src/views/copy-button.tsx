/** A command or text with a button that copies it. */

import { useSignal } from "@preact/signals";
import { copy } from "./frame-actions";

export function CopyButton({ text }: { text: string }) {
  const done = useSignal(false);
  return (
    <button
      type="button"
      class="copy"
      title="Copy"
      onClick={() => {
        copy(text, `Copied ${text}`);
        done.value = true;
      }}
    >
      <code>{text}</code> <span class="quiet">{done.value ? "copied" : "copy"}</span>
    </button>
  );
}

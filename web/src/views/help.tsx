/** The keyboard, explained. */

import { CloseIcon } from "./icons";

const KEYS: readonly (readonly [string, string])[] = [
  ["/  or  Ctrl F", "search"],
  ["Enter, n", "next match"],
  ["Shift Enter, N", "previous match"],
  ["Arrows", "choose a frame: caller, biggest callee, neighbours"],
  ["Enter", "zoom into the chosen frame"],
  ["Esc, Backspace", "zoom out by one frame"],
  ["0", "zoom out completely"],
  ["i", "root at the top or at the bottom"],
  ["c", "copy the name of the frame"],
  ["1, 2", "flame graph, table"],
  ["l", "follow the present"],
  ["t", "theme"],
  ["?", "this list"],
];

export function openHelp(): void {
  document.querySelector<HTMLDialogElement>("#help")?.showModal();
}

export function Help() {
  const close = () => document.querySelector<HTMLDialogElement>("#help")?.close();
  return (
    <dialog id="help" aria-labelledby="help-title">
      <div class="dialog-head">
        <h2 id="help-title">Keyboard</h2>
        <button type="button" class="button icon-only" aria-label="Close" onClick={close}>
          <CloseIcon />
        </button>
      </div>
      <dl>
        {KEYS.map(([keys, meaning]) => (
          <div key={keys}>
            <dt>
              <kbd>{keys}</kbd>
            </dt>
            <dd>{meaning}</dd>
          </div>
        ))}
      </dl>
      <p class="quiet">
        Searches take text, <code>"a whole name"</code> or <code>/a regular expression/</code>. They highlight and never
        change a percentage; to leave samples out, filter. Drag over the timeline to look at a part of it.
      </p>
    </dialog>
  );
}

/** The keyboard and the search, explained. */

import { CloseIcon } from "./icons";

const GROUPS: readonly { title: string; keys: readonly (readonly [string, string])[] }[] = [
  {
    title: "Everywhere",
    keys: [
      ["/  or  Ctrl F", "search"],
      ["n, N", "next and previous match"],
      ["1 … 8", "flame graph, tree, table, sandwich, diff, heat map, source, quality"],
      ["d", "diff with the time before"],
      ["l", "follow the present"],
      ["i", "root at the top or at the bottom"],
      ["0", "zoom out completely"],
      ["t", "theme"],
      ["?", "this list"],
    ],
  },
  {
    title: "In a graph",
    keys: [
      ["Arrows", "caller, biggest callee, neighbours"],
      ["Enter", "zoom into the chosen frame"],
      ["Esc, Backspace", "zoom out by one frame"],
      ["m", "all that can be done with the frame"],
      ["f", "callers and callees (sandwich)"],
      ["a", "source and assembly, line by line"],
      ["h, z", "hide the function; collapse what is below it"],
      ["s, T", "highlight it; show it in the table"],
      ["c, C", "copy the name; the whole stack"],
    ],
  },
  {
    title: "In tree, heat map and timeline",
    keys: [
      ["→  ←", "tree: open, close or go to the caller"],
      ["*", "tree: open everything below"],
      ["Shift arrows", "heat map: select cells; Enter shows their graph"],
      ["←  →", "timeline: select; Shift moves the end, Enter zooms in"],
    ],
  },
  {
    title: "With the mouse",
    keys: [
      ["Click", "zoom into a frame; include a label's value"],
      ["Right click", "all that can be done with the frame"],
      ["Alt click", "leave a value out; hide what a colour stands for"],
      ["Drag", "timeline and heat map: select; double click lets go"],
      ["Shift drag", "timeline of a diff: what to compare with"],
    ],
  },
];

export function openHelp(): void {
  document.querySelector<HTMLDialogElement>("#help")?.showModal();
}

export function Help() {
  const close = () => document.querySelector<HTMLDialogElement>("#help")?.close();
  return (
    <dialog id="help" aria-labelledby="help-title">
      <div class="dialog-head">
        <h2 id="help-title">Keyboard, mouse and search</h2>
        <button type="button" class="button icon-only" aria-label="Close" onClick={close}>
          <CloseIcon />
        </button>
      </div>
      <div class="help-groups">
        {GROUPS.map(({ title, keys }) => (
          <section key={title}>
            <h3>{title}</h3>
            <dl>
              {keys.map(([key, meaning]) => (
                <div key={key}>
                  <dt>
                    <kbd>{key}</kbd>
                  </dt>
                  <dd>{meaning}</dd>
                </div>
              ))}
            </dl>
          </section>
        ))}
        <section>
          <h3>Search</h3>
          <p class="quiet">
            Text, <code>"a whole name"</code>, <code>/a regular expression/</code>, <code>kind:kernel</code>,{" "}
            <code>package:tokio</code>, <code>binary:libc</code>, <code>file:main.rs</code>. A search highlights and
            never changes a percentage. The same words hide frames under Simplify; to leave samples out, filter.
          </p>
        </section>
      </div>
    </dialog>
  );
}

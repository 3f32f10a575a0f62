/** A button that opens a panel below itself; closes on Escape, on a click elsewhere and when something in it is chosen. */

import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

export function Menu(props: {
  label: string;
  /** What the button shows. */
  face: ComponentChildren;
  class?: string;
  /** Class of the button itself. */
  faceClass?: string;
  /** Set when a click inside the panel is a choice. */
  closesOnClick?: boolean;
  children: ComponentChildren;
}) {
  const details = useRef<HTMLDetailsElement>(null);
  // Nothing of a panel is made before it is looked at.
  const opened = useSignal(false);
  useEffect(() => {
    const close = () => details.current?.removeAttribute("open");
    const onPointer = (event: PointerEvent) => {
      if (!details.current?.contains(event.target as Node)) close();
    };
    const onKey = (event: KeyboardEvent) => {
      if (event.key !== "Escape" || !details.current?.open) return;
      event.stopPropagation();
      close();
      details.current.querySelector("summary")?.focus();
    };
    document.addEventListener("pointerdown", onPointer);
    document.addEventListener("keydown", onKey, true);
    return () => {
      document.removeEventListener("pointerdown", onPointer);
      document.removeEventListener("keydown", onKey, true);
    };
  }, []);
  return (
    <details
      class={`menu ${props.class ?? ""}`}
      ref={details}
      onToggle={() => {
        opened.value = true;
      }}
    >
      <summary class={props.faceClass ?? "button"} aria-label={props.label} title={props.label}>
        {props.face}
      </summary>
      {/* biome-ignore lint/a11y/noStaticElementInteractions lint/a11y/useKeyWithClickEvents: closes the panel after a choice made on the controls in it, which have their own keys */}
      <div
        class="menu-panel"
        onClick={(event) => {
          if (props.closesOnClick === true && (event.target as Element).closest("a, button") !== null) {
            details.current?.removeAttribute("open");
          }
        }}
      >
        {opened.value && props.children}
      </div>
    </details>
  );
}

/** Which rows of a long list are in sight; all rows are equally high. */

import { useSignal } from "@preact/signals";
import type { RefObject } from "preact";
import { useEffect } from "preact/hooks";

const OVERSCAN = 8;

export interface Sight {
  first: number;
  last: number;
  onScroll(event: { currentTarget: HTMLElement }): void;
}

export function useSight(scroller: RefObject<HTMLElement | null>, rows: number, rowHeight: number): Sight {
  const top = useSignal(0);
  const height = useSignal(600);
  useEffect(() => {
    const element = scroller.current;
    if (element === null) return;
    const watcher = new ResizeObserver(() => {
      height.value = element.clientHeight;
    });
    watcher.observe(element);
    return () => watcher.disconnect();
  }, [height, scroller]);
  return {
    first: Math.max(0, Math.min(rows, Math.floor(top.value / rowHeight) - OVERSCAN)),
    last: Math.min(rows, Math.ceil((top.value + height.value) / rowHeight) + OVERSCAN),
    onScroll: (event) => {
      top.value = event.currentTarget.scrollTop;
    },
  };
}

/** Scrolls so that a row stands below the head and above the bottom. */
export function reveal(scroller: HTMLElement | null, row: number, rowHeight: number, head: number): void {
  if (scroller === null || row < 0) return;
  const top = row * rowHeight;
  if (top < scroller.scrollTop) scroller.scrollTop = top;
  else if (top + rowHeight + head > scroller.scrollTop + scroller.clientHeight) {
    scroller.scrollTop = top + rowHeight + head - scroller.clientHeight;
  }
}

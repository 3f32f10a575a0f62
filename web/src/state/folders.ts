/** Folders of source text that were added on the page, `FROM=TO`: kept in this browser, sent with each question about a source file. */

import { signal } from "@preact/signals";

const KEY = "profiler.source-folders";
/** As many as the server takes. */
const MOST = 16;

export const folders = signal<readonly string[]>(read());

function read(): string[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(kept) ? kept.filter((one) => typeof one === "string").slice(0, MOST) : [];
  } catch {
    return [];
  }
}

function keep(list: readonly string[]): void {
  folders.value = list;
  try {
    localStorage.setItem(KEY, JSON.stringify(list));
  } catch {
    // Without storage they last as long as the page.
  }
}

/** The newest first; the oldest goes when there are too many. */
export function addFolder(from: string, to: string): void {
  const added = `${from.replace(/\/+$/, "")}=${to}`;
  keep([added, ...folders.peek().filter((one) => one !== added)].slice(0, MOST));
}

export function dropFolder(folder: string): void {
  keep(folders.peek().filter((one) => one !== folder));
}

/**
 * Views that a person saved by name, and the last ones looked at, in this browser's storage. Addresses only: nothing of the
 * profiles is kept. What the storage holds is foreign input: bounded and checked.
 */

import { effect, signal } from "@preact/signals";
import { parseFunction } from "../model/function";
import { formatClock, formatDate, formatMoment } from "../model/units";
import { view } from "./store";
import { readView, writeView } from "./view";

export interface SavedView {
  name: string;
  /** As `writeView` makes it. */
  address: string;
}

const SAVED_KEY = "profiler-saved";
const RECENT_KEY = "profiler-recent";
const MOST_SAVED = 100;
const MOST_RECENT = 8;
/** A view looked at this long counts as looked at. */
const SETTLED_MS = 4_000;

export const savedViews = signal<readonly SavedView[]>(load(SAVED_KEY, MOST_SAVED));
export const recentViews = signal<readonly SavedView[]>(load(RECENT_KEY, MOST_RECENT));

export function saveView(name: string): void {
  const entry = { name, address: writeView(view.peek()) };
  savedViews.value = [entry, ...savedViews.peek().filter((one) => one.name !== name)].slice(0, MOST_SAVED);
  keep(SAVED_KEY, savedViews.peek());
}

export function forgetView(name: string): void {
  savedViews.value = savedViews.peek().filter((one) => one.name !== name);
  keep(SAVED_KEY, savedViews.peek());
}

/** In a few words: what is shown, of when, of what. */
export function describeView(address: string): string {
  const { tab, filter, search, from, to, brush, fn } = readView(address);
  const span = brush ?? (typeof from === "number" && typeof to === "number" ? { from, to } : null);
  const about = tab === "sandwich" || tab === "source" ? (parseFunction(fn ?? "")?.name ?? null) : null;
  const when =
    span === null
      ? typeof from === "number"
        ? `since ${formatMoment(from)}`
        : `last ${from.replace("now-", "")}`
      : `${formatDate(span.from).slice(5)} ${formatClock(span.from)} – ${formatClock(span.to)}`;
  return [
    `${tab[0].toUpperCase()}${tab.slice(1)}${about === null ? "" : ` of ${about}`}`,
    when,
    filter,
    search && `search ${search}`,
  ]
    .filter((part) => part !== "")
    .join(", ");
}

/** Remembers what is looked at for a while; for as long as the page lives. */
export function rememberViews(): void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  effect(() => {
    const address = writeView(view.value);
    clearTimeout(timer);
    if (address === "") return;
    timer = setTimeout(() => {
      const others = recentViews.peek().filter((one) => one.address !== address);
      recentViews.value = [{ name: describeView(address), address }, ...others].slice(0, MOST_RECENT);
      keep(RECENT_KEY, recentViews.peek());
    }, SETTLED_MS);
  });
}

function load(key: string, most: number): SavedView[] {
  try {
    const stored: unknown = JSON.parse(localStorage.getItem(key) ?? "[]");
    if (!Array.isArray(stored)) return [];
    return stored
      .filter((one): one is SavedView => typeof one?.name === "string" && typeof one?.address === "string")
      .map(({ name, address }) => ({ name: name.slice(0, 200), address: writeView(readView(address)) }))
      .slice(0, most);
  } catch {
    return [];
  }
}

function keep(key: string, views: readonly SavedView[]): void {
  try {
    localStorage.setItem(key, JSON.stringify(views));
  } catch {
    // Storage may be full or forbidden; they then last as long as the page.
  }
}

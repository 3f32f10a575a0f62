/**
 * Label selectors, as far as the page needs them: to put one `label="value"` in and take it out again.
 *
 * The server is the judge of the grammar; text that this does not understand is left as it is (`null`).
 */

export interface Matcher {
  label: string;
  op: "=" | "!=" | "=~" | "!~";
  value: string;
}

const MATCHER = /\s*([A-Za-z_][A-Za-z0-9_.]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*(,|$)/y;

/** The matchers of `{a="x", b=~"y"}`, with or without braces; null when it is not understood. */
export function parseSelector(text: string): Matcher[] | null {
  const trimmed = text.trim();
  const inner = trimmed.startsWith("{") && trimmed.endsWith("}") ? trimmed.slice(1, -1) : trimmed;
  const matchers: Matcher[] = [];
  let at = 0;
  while (at < inner.length && inner.slice(at).trim() !== "") {
    MATCHER.lastIndex = at;
    const found = MATCHER.exec(inner);
    if (found === null) return null;
    matchers.push({ label: found[1], op: found[2] as Matcher["op"], value: found[3].replace(/\\(.)/gs, unescaped) });
    at = MATCHER.lastIndex;
  }
  return matchers;
}

function unescaped(_: string, character: string): string {
  return character === "n" ? "\n" : character === "t" ? "\t" : character;
}

/** `{comm="x", pid="1"}`; the empty text for no matchers. */
export function formatSelector(matchers: readonly Matcher[]): string {
  if (matchers.length === 0) return "";
  return `{${matchers.map((m) => `${m.label}${m.op}"${escaped(m.value)}"`).join(", ")}}`;
}

function escaped(value: string): string {
  return value.replace(/[\\"]/g, "\\$&").replace(/\n/g, "\\n").replace(/\t/g, "\\t");
}

/** The value that `label` is pinned to by `label="value"`, if it is. */
export function pinnedValue(selector: string, label: string): string | null {
  return parseSelector(selector)?.find((m) => m.label === label && m.op === "=")?.value ?? null;
}

/** The selector without any matcher on `label`; unchanged when it is not understood. */
export function withoutLabel(selector: string, label: string): string {
  const matchers = parseSelector(selector);
  return matchers === null ? selector : formatSelector(matchers.filter((m) => m.label !== label));
}

/** Pins `label` to `value`, or releases it when it is pinned to that already. Not understood: starts afresh. */
export function toggleValue(selector: string, label: string, value: string): string {
  const rest = (parseSelector(selector) ?? []).filter((m) => m.label !== label);
  if (pinnedValue(selector, label) === value) return formatSelector(rest);
  return formatSelector([...rest, { label, op: "=", value }]);
}

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

/** The selector without any matcher on `label`; unchanged when it is not understood. */
export function withoutLabel(selector: string, label: string): string {
  const matchers = parseSelector(selector);
  return matchers === null ? selector : formatSelector(matchers.filter((m) => m.label !== label));
}

/** The values of a label that a selector names, as far as it names them one by one. */
export interface Chosen {
  included: readonly string[];
  excluded: readonly string[];
}

export function chosenValues(selector: string, label: string): Chosen {
  const included: string[] = [];
  const excluded: string[] = [];
  for (const matcher of parseSelector(selector) ?? []) {
    if (matcher.label !== label) continue;
    const values = matcher.op === "=" || matcher.op === "!=" ? [matcher.value] : alternatives(matcher.value);
    (matcher.op === "=" || matcher.op === "=~" ? included : excluded).push(...(values ?? []));
  }
  return { included, excluded };
}

/**
 * Includes or excludes a value, or takes that back when it is so already. Several values become one `=~` or `!~`. A selector
 * that is not understood is replaced.
 */
export function toggleValue(selector: string, label: string, value: string, how: keyof Chosen = "included"): string {
  const matchers = parseSelector(selector) ?? [];
  const chosen = chosenValues(selector, label);
  const toggled = (list: readonly string[]) =>
    list.includes(value) ? list.filter((v) => v !== value) : [...list, value];
  const included = how === "included" ? toggled(chosen.included) : chosen.included.filter((v) => v !== value);
  const excluded = how === "excluded" ? toggled(chosen.excluded) : chosen.excluded.filter((v) => v !== value);
  const others = matchers.filter(
    (m) => m.label !== label || ((m.op === "=~" || m.op === "!~") && alternatives(m.value) === null),
  );
  return formatSelector([...others, ...matcherOf(label, included, true), ...matcherOf(label, excluded, false)]);
}

function matcherOf(label: string, values: readonly string[], wanted: boolean): Matcher[] {
  if (values.length === 0) return [];
  if (values.length === 1) return [{ label, op: wanted ? "=" : "!=", value: values[0] }];
  const value = values.map((v) => v.replace(/[\\.+*?()|[\]{}^$]/g, "\\$&")).join("|");
  return [{ label, op: wanted ? "=~" : "!~", value }];
}

/** The plain texts of `a|b\.c`; null for a regular expression that is more than that. */
function alternatives(regex: string): string[] | null {
  const parts: string[] = [""];
  for (let i = 0; i < regex.length; i++) {
    const c = regex[i];
    if (c === "|") parts.push("");
    else if (c === "\\" && /[\\.+*?()|[\]{}^$]/.test(regex[i + 1] ?? "")) parts[parts.length - 1] += regex[++i];
    else if (/[\\.+*?()[\]{}^$]/.test(c)) return null;
    else parts[parts.length - 1] += c;
  }
  return parts;
}

/** What can be typed at a place of a selector, and which part of the text it would replace. */
export type Completion =
  | { what: "label"; typed: string; from: number; to: number }
  | { what: "operator"; label: string; from: number; to: number }
  | { what: "value"; label: string; typed: string; from: number; to: number };

/** Null where nothing can be offered. */
export function completionAt(text: string, caret: number): Completion | null {
  const before = text.slice(0, caret);
  const value = /(?:^|[{,])\s*([A-Za-z_]\w*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)$/.exec(before);
  if (value !== null && quotesOpen(before)) {
    const rest = /^(?:[^"\\,}]|\\.)*"?/.exec(text.slice(caret));
    const from = caret - value[3].length - 1;
    return { what: "value", label: value[1], typed: value[3], from, to: caret + (rest?.[0].length ?? 0) };
  }
  if (quotesOpen(before)) return null;
  const operator = /(?:^|[{,])\s*([A-Za-z_]\w*)\s*(=~?|!~?=?)$/.exec(before);
  if (operator !== null) return { what: "operator", label: operator[1], from: caret - operator[2].length, to: caret };
  const label = /(?:^|[{,])\s*([A-Za-z_]\w*)?$/.exec(before);
  if (label === null) return null;
  const typed = label[1] ?? "";
  return { what: "label", typed, from: caret - typed.length, to: caret };
}

function quotesOpen(text: string): boolean {
  return (text.replace(/\\./gs, "").match(/"/g)?.length ?? 0) % 2 === 1;
}

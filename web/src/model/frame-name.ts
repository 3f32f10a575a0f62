/** Shorter names for narrow boxes. Pure. */

/**
 * The last part of a qualified name, without template arguments: `alloc::vec::Vec<T>::push` becomes `Vec::push`,
 * `<T as core::fmt::Display>::fmt` becomes `Display::fmt`. The name itself where there is nothing to leave out.
 */
export function shortName(name: string): string {
  if (!name.includes("::")) return name;
  const bare = withoutArguments(name);
  const parts = bare.split("::").filter((part) => part !== "");
  if (parts.length <= 2) return parts.join("::") || name;
  return parts.slice(-2).join("::");
}

/** Drops `<...>` and `(...)` but keeps the trait of `<T as Trait>`, which is all such a name has. */
function withoutArguments(name: string): string {
  const trait = /^<.* as ([\w:]+)[^>]*>(::.*)$/.exec(name);
  const text = trait === null ? name : trait[1] + trait[2];
  let depth = 0;
  let kept = "";
  for (const character of text) {
    if (character === "<" || character === "(") depth++;
    else if (character === ">" || character === ")") depth = Math.max(0, depth - 1);
    else if (depth === 0) kept += character;
  }
  return kept;
}

/** Shorter names for narrow boxes. Pure. */

/** C++'s operators whose signs could be taken for brackets, longer ones before what they begin with. */
const BRACKETS = ["()", "<=>", "<<=", ">>=", "->*", "<<", ">>", "<=", ">=", "->", "<", ">"];

/**
 * The last part of a qualified name, without arguments and the type it returns: `alloc::vec::Vec<T>::push` becomes `Vec::push`,
 * `<T as core::fmt::Display>::fmt` becomes `Display::fmt`, `bool std::operator< <char>(A, B)` becomes `std::operator<`; a lambda is its
 * function's: `main::{lambda(int)#1}::operator()(int) const` becomes `main::{lambda#1}`. The name itself where there is nothing to leave out.
 */
export function shortName(name: string): string {
  if (!name.includes("::") && !name.includes("operator")) return name;
  const parts = withoutArguments(name).split("::");
  const named = parts.filter((part) => part !== "");
  // The call of a lambda is the lambda.
  if (named.at(-1) === "operator()" && named.at(-2)?.startsWith("{lambda")) named.pop();
  return named.slice(-2).join("::") || name;
}

/**
 * Drops `<...>` and `(...)`, what follows a function's parameters (`const`, `[clone .cold]`) and a type before its name, but keeps the trait
 * of `<T as Trait>`, which is all such a name has, and an operator's own signs.
 */
function withoutArguments(name: string): string {
  const trait = /^<.* as ([\w:]+)[^>]*>(::.*)$/.exec(name);
  const text = trait === null ? name : trait[1] + trait[2];
  let depth = 0;
  let kept = "";
  // Where parameters were left out, and where the part begins that is called by its name.
  let end = -1;
  let begin = 0;
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    const signs = depth === 0 && /\boperator ?$/.test(kept) && BRACKETS.find((signs) => text.startsWith(signs, at));
    if (signs) {
      kept += signs;
      at += signs.length - 1;
      if (text.startsWith(" <", at + 1)) at++;
    } else if (character === "<" || character === "(") {
      if (depth++ === 0 && character === "(") end = kept.length;
    } else if (character === ">" || character === ")") depth = Math.max(0, depth - 1);
    else if (depth === 0) {
      if (character === " " && !/\boperator$/.test(kept) && end < 0) begin = kept.length + 1;
      // More of the name comes: what was left out were no parameters of it.
      if (character === ":" && end >= 0) end = -1;
      kept += character;
    }
  }
  return end > begin ? kept.slice(begin, end).replace(/^[*&]+/, "") : kept;
}

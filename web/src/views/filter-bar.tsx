/**
 * The label selector, as typed; Enter applies it. Labels, operators and values are offered at the caret. The server's
 * objection stands below it until it is mended.
 */

import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { completionAt } from "../model/selector";
import { formatShare } from "../model/units";
import { askForValues } from "../state/refresh";
import { facetQuestions, filterProblem, navigate, questions, shown } from "../state/store";
import { LABEL_NAMES } from "./facets";
import { CloseIcon, FilterIcon } from "./icons";

const OFFERED = 10;

interface Offer {
  text: string;
  /** What is put in place of what was typed. */
  insert: string;
  note: string;
}

/** The values of a label with the most samples, after an operator that they bring along. */
function valueOffers(label: string, typed: string, operator: string): Offer[] {
  const values = facetQuestions.value.get(label)?.state.value.answer?.values ?? [];
  const sum = values.reduce((total, v) => total + v.samples, 0);
  const wanted = typed.toLowerCase();
  return values
    .filter(({ value }) => value !== "" && value.toLowerCase().includes(wanted))
    .slice(0, OFFERED)
    .map(({ value, samples }) => ({
      text: value,
      insert: `${operator}"${value.replace(/[\\"]/g, "\\$&")}"`,
      note: formatShare(samples, sum),
    }));
}

/** Labels whose values are offered for a word that is no label, as people type the name of what they look for. */
const SEARCHED = ["comm", "container", "unit", "thread"];

function searchedLabels(): string[] {
  const labels = questions.labels.state.value.answer?.labels ?? [];
  return SEARCHED.filter((label) => labels.includes(label));
}

/** The values that have a word in them, the most samples first, whole matchers each. */
function wordOffers(word: string): Offer[] {
  return searchedLabels().flatMap((label) =>
    valueOffers(label, word, `${label}=`)
      .slice(0, 4)
      .map((offer) => ({ ...offer, text: offer.insert })),
  );
}

export function FilterBar() {
  const input = useRef<HTMLInputElement>(null);
  const typed = useSignal<{ text: string; caret: number } | null>(null);
  const pointed = useSignal(-1);
  const applied = shown.filter.value;
  const problem = filterProblem.value;
  useEffect(() => {
    if (input.current !== null) input.current.value = applied;
  }, [applied]);
  const place = useComputed(() => (typed.value === null ? null : completionAt(typed.value.text, typed.value.caret)));
  const offers = useComputed<Offer[]>(() => {
    const at = place.value;
    if (at === null) return [];
    if (at.what === "label") {
      const labels = (questions.labels.state.value.answer?.labels ?? [])
        .filter((label) => label.startsWith(at.typed))
        .map((label) => ({ text: label, insert: `${label}=`, note: LABEL_NAMES[label] ?? "" }));
      return at.typed === "" ? labels : [...labels, ...wordOffers(at.typed)];
    }
    if (at.what === "operator") {
      const notes = [
        ["=", "is"],
        ["!=", "is not"],
        ["=~", "matches the whole expression"],
        ["!~", "does not match"],
      ] as const;
      const operators = notes.map(([text, note]) => ({ text, insert: `${text}"`, note }));
      // The operator stands there already: most want a value next.
      const written = typed.value?.text.slice(at.from, at.to) ?? "";
      const complete = notes.some(([text]) => text === written);
      return complete ? [...valueOffers(at.label, "", written), ...operators] : operators;
    }
    return valueOffers(at.label, at.typed, "");
  });
  const look = (): void => {
    const element = input.current;
    if (element === null) return;
    typed.value = { text: element.value, caret: element.selectionStart ?? element.value.length };
    pointed.value = -1;
    const at = place.peek();
    if (at?.what === "label") {
      if (at.typed !== "") searchedLabels().forEach(askForValues);
    } else if (at !== null) askForValues(at.label);
  };
  const take = (offer: Offer): void => {
    const element = input.current;
    const at = place.peek();
    if (element === null || at === null) return;
    element.setRangeText(offer.insert, at.from, at.to, "end");
    element.focus();
    look();
  };
  const apply = (): void => {
    // A word alone is no selector: what it stands for is what is offered first with it.
    const at = place.peek();
    const word = input.current?.value.trim() ?? "";
    const [first] = at?.what === "label" && at.typed !== "" && at.typed === word ? wordOffers(word) : [];
    if (first !== undefined && input.current !== null) input.current.value = `{${first.insert}}`;
    typed.value = null;
    navigate({ filter: input.current?.value.trim() ?? "" });
  };
  const onKey = (event: KeyboardEvent): void => {
    const count = offers.peek().length;
    if (typed.peek() === null || count === 0) return;
    if (event.key === "ArrowDown") pointed.value = (pointed.peek() + 1) % count;
    else if (event.key === "ArrowUp") pointed.value = (pointed.peek() - 1 + count) % count;
    else if (event.key === "Escape") typed.value = null;
    else if ((event.key === "Enter" || event.key === "Tab") && pointed.peek() >= 0) take(offers.peek()[pointed.peek()]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const open = offers.value.length > 0;
  return (
    <form
      class="filter-bar"
      onSubmit={(event) => {
        event.preventDefault();
        apply();
      }}
    >
      <label class="field">
        <FilterIcon />
        <input
          ref={input}
          type="text"
          class="code"
          role="combobox"
          aria-label="Filter by labels"
          aria-expanded={open}
          aria-controls="filter-offers"
          aria-autocomplete="list"
          aria-activedescendant={pointed.value >= 0 ? `offer-${pointed.value}` : undefined}
          aria-invalid={problem !== null}
          aria-describedby={problem === null ? undefined : "filter-problem"}
          placeholder={'Process, container, unit, or {comm="postgres"}'}
          spellcheck={false}
          autocomplete="off"
          autocapitalize="off"
          onInput={look}
          onFocus={look}
          onClick={look}
          onBlur={() => {
            typed.value = null;
          }}
          onKeyDown={onKey}
        />
        {applied !== "" && (
          <button type="button" class="clear" aria-label="Remove the filter" onClick={() => navigate({ filter: "" })}>
            <CloseIcon />
          </button>
        )}
      </label>
      <div class="offers menu-panel" id="filter-offers" role="listbox" aria-label="Completions" hidden={!open}>
        {offers.value.map((offer, i) => (
          // biome-ignore lint/a11y/useKeyWithClickEvents lint/a11y/useFocusableInteractive: the input has the focus and the keys
          <div
            key={offer.text}
            id={`offer-${i}`}
            role="option"
            aria-selected={pointed.value === i}
            // Before the input loses the focus.
            onMouseDown={(event) => event.preventDefault()}
            onClick={() => take(offer)}
          >
            <code>{offer.text}</code> <span class="quiet">{offer.note}</span>
          </div>
        ))}
      </div>
      {problem !== null && (
        <p class="problem filter-problem" id="filter-problem" role="alert">
          <strong>{problem.title}</strong> {problem.detail}
        </p>
      )}
    </form>
  );
}

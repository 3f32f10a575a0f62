/** The label selector, as typed; Enter applies it. The server's objection stands below it until it is mended. */

import { useEffect, useRef } from "preact/hooks";
import { filterProblem, navigate, view } from "../state/store";
import { CloseIcon, FilterIcon } from "./icons";

export function FilterBar() {
  const input = useRef<HTMLInputElement>(null);
  const applied = view.value.filter;
  const problem = filterProblem.value;
  useEffect(() => {
    if (input.current !== null) input.current.value = applied;
  }, [applied]);
  return (
    <form
      class="filter-bar"
      onSubmit={(event) => {
        event.preventDefault();
        navigate({ filter: input.current?.value.trim() ?? "" });
      }}
    >
      <label class="field">
        <FilterIcon />
        <input
          ref={input}
          type="text"
          class="code"
          aria-label="Filter by labels"
          aria-invalid={problem !== null}
          aria-describedby={problem === null ? undefined : "filter-problem"}
          placeholder={'Filter, such as {comm="postgres", container=~"web-.*"}'}
          spellcheck={false}
          autocomplete="off"
          autocapitalize="off"
        />
        {applied !== "" && (
          <button type="button" class="clear" aria-label="Remove the filter" onClick={() => navigate({ filter: "" })}>
            <CloseIcon />
          </button>
        )}
      </label>
      {problem !== null && (
        <p class="problem filter-problem" id="filter-problem" role="alert">
          <strong>{problem.title}</strong> {problem.detail}
        </p>
      )}
    </form>
  );
}

/** The search: highlights as one types, says the exact share, steps through the matches. */

import { useComputed } from "@preact/signals";
import { frameMask } from "../model/search";
import { hiddenNodes, withoutUsual } from "../model/tidy";
import { formatCount, formatShare } from "../model/units";
import { focus, found, foundInFocus, ownNames, searchQuery, selected, tree } from "../state/flame";
import { flame, navigate, shown, view } from "../state/store";
import { leaveSearch, stepMatch } from "./flame-keys";
import { CloseIcon, DownIcon, SearchIcon, UpIcon } from "./icons";

export function SearchBox() {
  const search = shown.search.value;
  const tab = shown.tab.value;
  const bad = searchQuery.value.kind === "bad";
  return (
    <div class="search">
      <label class="field">
        <SearchIcon />
        <input
          id="search"
          type="text"
          value={search}
          aria-label="Search functions"
          aria-invalid={bad}
          aria-describedby="search-result"
          placeholder="Search (/)"
          title={'Text anywhere in a name, "whole name", /regular expression/, or kind: package: binary: file:'}
          spellcheck={false}
          autocomplete="off"
          autocapitalize="off"
          onInput={(event) => navigate({ search: event.currentTarget.value }, "replace")}
          onKeyDown={(event) => {
            if (event.key === "Enter") {
              event.preventDefault();
              if (tab === "flame" || tab === "tree") stepMatch(event.shiftKey ? -1 : 1);
            } else if (event.key === "Escape") {
              event.preventDefault();
              navigate({ search: "" }, "replace");
              leaveSearch();
            }
          }}
        />
        {search !== "" && (
          <button
            type="button"
            class="clear"
            aria-label="Clear the search"
            onClick={() => navigate({ search: "" }, "replace")}
          >
            <CloseIcon />
          </button>
        )}
      </label>
      {tab !== "table" && <Found steps={tab === "flame" || tab === "tree"} />}
    </div>
  );
}

function frames(n: number, what: string): string {
  return `${formatCount(n)} ${what}${n === 1 ? "" : "s"}`;
}

function showHidden(): void {
  navigate({ tidy: withoutUsual(view.peek().tidy) }, "replace");
}

function Found({ steps }: { steps: boolean }) {
  const place = useComputed(() => {
    const nodes = found.value?.nodes;
    return nodes === undefined || selected.value < 0 ? -1 : nodes.indexOf(selected.value);
  });
  // What is hidden by itself has names too.
  const inHidden = useComputed(() => {
    const whole = flame.value?.tree;
    return whole === undefined
      ? 0
      : hiddenNodes(whole, shown.tidy.value, ownNames.value, frameMask(whole.frames, searchQuery.value));
  });
  const query = searchQuery.value;
  const result = found.value;
  const at = tree.value;
  if (query.kind === "bad") {
    return (
      <p class="found problem" id="search-result" role="status" title={query.problem}>
        {/* The browser repeats the expression before it says what is wrong. */}
        {query.problem.slice(query.problem.lastIndexOf(": ") + 1).trim()}
      </p>
    );
  }
  if (result === null || at === null) return null;
  const { node } = focus.value;
  const count = result.nodes.length;
  const hidden = inHidden.value;
  return (
    <div class="found">
      <p id="search-result" role="status">
        {count === 0 ? (
          hidden > 0 ? (
            `Only in ${frames(hidden, "hidden frame")}`
          ) : result.more ? (
            "No match outside collapsed frames"
          ) : (
            "No match"
          )
        ) : (
          <>
            {result.more && (
              <span class="quiet" title="Collapsed frames, too small to be sent, may match too">
                at least{" "}
              </span>
            )}
            <strong>{formatShare(result.total, at.total[0])}</strong>
            {node > 0 && <span title="Of the zoomed frame"> ({formatShare(foundInFocus.value, at.total[node])})</span>}
            <span class="quiet">
              {" "}
              {place.value >= 0 ? `${formatCount(place.value + 1)} of ${formatCount(count)}` : frames(count, "frame")}
              {hidden > 0 && `, ${formatCount(hidden)} more hidden`}
            </span>
          </>
        )}
      </p>
      {/* Not part of what is read aloud, and never cut off with it. */}
      {hidden > 0 && (
        <button type="button" class="link" onClick={showHidden}>
          Show them
        </button>
      )}
      {steps && (
        <>
          <button
            type="button"
            class="button icon-only small"
            aria-label="Previous match"
            title="Previous match (N)"
            disabled={count === 0}
            onClick={() => stepMatch(-1)}
          >
            <UpIcon />
          </button>
          <button
            type="button"
            class="button icon-only small"
            aria-label="Next match"
            title="Next match (n)"
            disabled={count === 0}
            onClick={() => stepMatch(1)}
          >
            <DownIcon />
          </button>
        </>
      )}
    </div>
  );
}

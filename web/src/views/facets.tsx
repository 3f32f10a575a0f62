/**
 * Labels and their values in the range, by share: a click includes a value, the minus (or Alt+click) excludes it, another
 * click lets go. The shares of a label are of what the filter on the other labels leaves.
 */

import { useSignal } from "@preact/signals";
import { chosenValues, toggleValue } from "../model/selector";
import { baseName, formatAmount, formatCount, formatShare } from "../model/units";
import { facetQuestions, flame, navigate, questions, shown, view } from "../state/store";
import { DownIcon, MinusIcon } from "./icons";

const FIRST = 12;
/** What people call the labels; others keep their name. */
export const LABEL_NAMES: Readonly<Record<string, string>> = {
  comm: "Processes",
  pid: "Process ids",
  exe: "Executables",
  thread: "Threads",
  cgroup: "Control groups",
  container: "Containers",
  unit: "Units",
  user: "Users",
};
/** Without a value: what that means. */
const NONE: Readonly<Record<string, string>> = { container: "(no container)", unit: "(no unit)" };

/** As people know it: a container by the twelve digits that its tools show, a control group by its last part. */
export function valueText(label: string, value: string, name: string | null): string {
  const short = value.replace(/[0-9a-f]{32,64}/g, (id) => `${id.slice(0, 12)}…`);
  if (label === "pid") return name === null ? value : `${value} ${name}`;
  if (label === "container") return short;
  return label === "cgroup" ? baseName(short) : value;
}

/** Its last part, and its folder where another file is called the same. */
function fileName(path: string, all: readonly { value: string }[]): string {
  const name = baseName(path);
  const same = all.filter(({ value }) => baseName(value) === name).length;
  return same < 2 ? name : path.split("/").slice(-2).join("/");
}

export function Facets() {
  const labels = questions.labels.state.value.answer?.labels ?? ["comm"];
  const facets = shown.facets.value;
  return (
    <nav class="facets" aria-label="Labels">
      {labels.map((label) => {
        const open = facets.includes(label);
        const chosen = chosenValues(shown.filter.value, label);
        const active = chosen.included.length + chosen.excluded.length;
        return (
          <section class={open ? "facet open" : "facet"} key={label} data-label={label}>
            <h2>
              <button
                type="button"
                aria-expanded={open}
                onClick={() =>
                  navigate({ facets: open ? facets.filter((l) => l !== label) : [...facets, label] }, "replace")
                }
              >
                <span class={open ? "twist open" : "twist"}>
                  <DownIcon />
                </span>
                {LABEL_NAMES[label] ?? label}
                <Count label={label} />
                {active > 0 && <span class="badge">{active}</span>}
              </button>
            </h2>
            {open && <Values label={label} />}
          </section>
        );
      })}
    </nav>
  );
}

function Count({ label }: { label: string }) {
  const answer = facetQuestions.value.get(label)?.state.value.answer;
  return answer === undefined || answer === null ? null : (
    <span class="quiet">{formatCount(answer.values.length + answer.hidden_values)}</span>
  );
}

function Values({ label }: { label: string }) {
  const all = useSignal(false);
  const search = useSignal("");
  const { answer, stale } = facetQuestions.value.get(label)?.state.value ?? { answer: null, stale: false };
  if (answer === null) return <p class="quiet">…</p>;
  const { values, hidden_values: hidden, samples: sum } = answer;
  if (values.length === 0) return <p class="quiet">None in this range.</p>;
  const { included, excluded } = chosenValues(shown.filter.value, label);
  // What is chosen stays in sight even when the range has none of it.
  const absent = [...included, ...excluded].filter((value) => !values.some((v) => v.value === value));
  const isOwn = (value: string): boolean =>
    label === "comm"
      ? (flame.value?.own?.names.includes(value) ?? false)
      : label === "exe" && value === flame.value?.own?.exe;
  // The profiler's own come last: what it took is no news.
  const inOrder = [...values.filter(({ value }) => !isOwn(value)), ...values.filter(({ value }) => isOwn(value))];
  const listed = [...absent.map((value) => ({ value, samples: 0, name: null })), ...inOrder];
  const wanted = search.value.trim().toLowerCase();
  const found =
    wanted === ""
      ? listed
      : listed.filter(({ value, name }) => `${value} ${name ?? ""}`.toLowerCase().includes(wanted));
  const first = all.value ? found : found.slice(0, FIRST);
  const toggle = (value: string, how: "included" | "excluded") =>
    navigate({ filter: toggleValue(view.peek().filter, label, value, how), zoom: null });
  return (
    <>
      {listed.length > FIRST && (
        <input
          type="search"
          class="text facet-search"
          aria-label={`Search ${(LABEL_NAMES[label] ?? label).toLowerCase()}`}
          placeholder="Search"
          value={search.value}
          onInput={(event) => {
            search.value = event.currentTarget.value;
          }}
        />
      )}
      {found.length === 0 && <p class="quiet">None has this in its name.</p>}
      <ul class={stale ? "stale" : ""}>
        {first.map(({ value, samples, name }) => {
          const state = included.includes(value) ? "included" : excluded.includes(value) ? "excluded" : "";
          const known = label === "exe" ? fileName(value, values) : valueText(label, value, name);
          const text = value === "" ? (NONE[label] ?? "(none)") : known;
          return (
            <li key={value} class={`facet-row ${state}${isOwn(value) ? " own" : ""}`}>
              <button
                type="button"
                class="facet-value"
                aria-pressed={state === "included"}
                title={`${value || text}: ${formatAmount(samples, answer)}. Click to include, Alt+click to exclude`}
                onClick={(event) => toggle(value, event.altKey ? "excluded" : "included")}
              >
                <span class="bar" style={{ width: `${sum > 0 ? (samples / sum) * 100 : 0}%` }} />
                <span class="name">{text}</span>
                <span class="share">{formatShare(samples, sum)}</span>
              </button>
              <button
                type="button"
                class="clear exclude"
                aria-pressed={state === "excluded"}
                aria-label={`Exclude ${text}`}
                title={`Exclude ${text}`}
                onClick={() => toggle(value, "excluded")}
              >
                <MinusIcon />
              </button>
            </li>
          );
        })}
      </ul>
      {found.length > FIRST && (
        <button
          type="button"
          class="link"
          onClick={() => {
            all.value = !all.value;
          }}
        >
          {all.value ? `Show the first ${FIRST}` : `Show ${formatCount(found.length - FIRST)} more`}
        </button>
      )}
      {hidden > 0 && (all.value || wanted !== "") && (
        <p class="quiet">{formatCount(hidden)} more have fewer samples and are not listed: name them in the filter.</p>
      )}
    </>
  );
}

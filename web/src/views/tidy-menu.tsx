/** Fewer frames, the same samples: presets, and the rules a person made. */

import type { Tidy } from "../model/tidy";
import { changesNothing, NOT_TIDIED, USUAL_TIDY } from "../model/tidy";
import { navigate, shown } from "../state/store";
import { NAMINGS, type Naming } from "../state/view";
import { CloseIcon, TidyIcon } from "./icons";
import { Menu } from "./menu";

const PRESETS: readonly { flag: "plumbing" | "recursion" | "own"; label: string; what: string }[] = [
  {
    flag: "plumbing",
    label: "Hide plumbing",
    what: "entry points, dispatch and trampolines of the usual runtimes, where they only pass on",
  },
  { flag: "recursion", label: "Merge recursion", what: "a function below itself joins its first occurrence" },
  {
    flag: "own",
    label: "Collapse the profiler itself",
    what: "its own processes stand in one frame, after all others",
  },
];

const NAMES: Readonly<Record<Naming, string>> = {
  full: "in full",
  simple: "short: no parameters, no type arguments",
  none: "as the linker has them",
};

/** Chosen frames have other names then: what was chosen by name is let go. */
function rename(names: Naming): void {
  navigate({ names, zoom: null, fn: null });
}

export function TidyMenu() {
  const tidy = shown.tidy.value;
  const names = shown.names.value;
  const set = (change: Partial<Tidy>) => navigate({ tidy: { ...tidy, ...change } });
  const rules = tidy.hide.length + tidy.fold.length;
  // What is not as usual.
  const active =
    PRESETS.filter(({ flag }) => tidy[flag] !== USUAL_TIDY[flag]).length + rules + (names === "full" ? 0 : 1);
  return (
    <Menu
      label="Simplify: hide and collapse frames"
      class="tidy"
      faceClass="button small"
      face={
        <>
          <TidyIcon /> Simplify{active > 0 && <b> {active}</b>}
        </>
      }
    >
      <p class="menu-title">Fewer frames, the same samples</p>
      {PRESETS.map(({ flag, label, what }) => (
        <label key={flag} class="choice">
          <input
            type="checkbox"
            checked={tidy[flag]}
            onChange={(event) => set({ [flag]: event.currentTarget.checked })}
          />
          <span>
            {label}
            <span class="quiet">{what}</span>
          </span>
        </label>
      ))}
      <label class="choice">
        Names{" "}
        <select value={names} onChange={(event) => rename(event.currentTarget.value as Naming)}>
          {NAMINGS.map((naming) => (
            <option key={naming} value={naming}>
              {NAMES[naming]}
            </option>
          ))}
        </select>
      </label>
      <form
        class="rule-form"
        onSubmit={(event) => {
          event.preventDefault();
          const form = event.currentTarget;
          const rule = String(new FormData(form).get("rule")).trim();
          if (rule !== "" && !tidy.hide.includes(rule)) set({ hide: [...tidy.hide, rule] });
          form.reset();
        }}
      >
        <input
          name="rule"
          type="text"
          class="text"
          aria-label="Hide frames"
          placeholder='Hide: name, "exact" or /regex/'
        />
        <button type="submit" class="button">
          Hide
        </button>
      </form>
      {rules > 0 && (
        <ul class="rules">
          {tidy.hide.map((rule) => (
            <Rule key={`h${rule}`} what="hidden" rule={rule} drop={() => set({ hide: without(tidy.hide, rule) })} />
          ))}
          {tidy.fold.map((rule) => (
            <Rule key={`f${rule}`} what="collapsed" rule={rule} drop={() => set({ fold: without(tidy.fold, rule) })} />
          ))}
        </ul>
      )}
      {!changesNothing(tidy) && (
        <button type="button" class="link" onClick={() => navigate({ tidy: NOT_TIDIED })}>
          Show all frames
        </button>
      )}
    </Menu>
  );
}

function without(rules: readonly string[], rule: string): string[] {
  return rules.filter((one) => one !== rule);
}

function Rule({ what, rule, drop }: { what: string; rule: string; drop: () => void }) {
  return (
    <li>
      <span class="quiet">{what}</span> <code>{rule}</code>
      <button type="button" class="clear" aria-label={`Show ${rule} again`} onClick={drop}>
        <CloseIcon />
      </button>
    </li>
  );
}

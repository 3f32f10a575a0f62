/** The link to what is shown, the views saved by name, the last ones looked at. */

import { useSignal } from "@preact/signals";
import { resolveInstant } from "../model/time-range";
import { describeView, forgetView, recentViews, savedViews, saveView } from "../state/saved";
import { answeredMillis, navigate, view } from "../state/store";
import { readView, type ViewState, writeView } from "../state/view";
import { copy } from "./frame-actions";
import { CloseIcon, LinkIcon } from "./icons";
import { Menu } from "./menu";

export function ViewsMenu() {
  const copied = useSignal("");
  const share = async (address: string, what: string) => {
    const link = new URL(address === "" ? location.pathname : address, location.href).href;
    const said = `Copied ${what}`;
    copied.value = (await copy(link, said)) ? `${said}.` : `The browser did not let the page copy. ${link}`;
  };
  /** The times that are on the screen, not those of the click: a range that moves has gone on since it was answered. */
  const fixed = (now: ViewState): ViewState => {
    if (typeof now.from === "number" && typeof now.to === "number") return now;
    return now.brush === null
      ? { ...now, ...answeredMillis(Date.now()) }
      : { ...now, from: resolveInstant(now.from, Date.now()), to: resolveInstant(now.to, Date.now()) };
  };
  return (
    <Menu label="Share, saved and recent views" face={<LinkIcon />} class="icon-menu views">
      <p class="menu-title">Link to what is shown</p>
      <button
        type="button"
        onClick={() => {
          void share(writeView(fixed(view.peek())), "the link");
        }}
      >
        Copy the link<span class="quiet">with these times, whenever it is opened</span>
      </button>
      <button type="button" onClick={() => void share(writeView(view.peek()), "the live link")}>
        Copy the live link<span class="quiet">the last part of time, as of when it is opened</span>
      </button>
      <p class="quiet said" role="status">
        {copied}
      </p>
      <form
        class="rule-form"
        onSubmit={(event) => {
          event.preventDefault();
          const form = event.currentTarget;
          saveView(String(new FormData(form).get("name")).trim() || describeView(writeView(view.peek())));
          form.reset();
        }}
      >
        <input
          type="text"
          class="text"
          name="name"
          maxLength={100}
          aria-label="Name of the view"
          placeholder="Save this view as …"
        />
        <button type="submit" class="button">
          Save
        </button>
      </form>
      {savedViews.value.length > 0 && <p class="menu-title">Saved in this browser</p>}
      {savedViews.value.map(({ name, address }) => (
        <p class="saved" key={name}>
          <button type="button" onClick={() => navigate(readView(address))}>
            {name}
          </button>
          <button type="button" class="clear" aria-label={`Forget ${name}`} onClick={() => forgetView(name)}>
            <CloseIcon />
          </button>
        </p>
      ))}
      <Recent />
    </Menu>
  );
}

function Recent() {
  const recent = recentViews.value.filter(({ address }) => address !== writeView(view.value));
  return (
    <>
      {recent.length > 0 && <p class="menu-title">Looked at before</p>}
      {recent.map(({ name, address }) => (
        <button type="button" key={address} onClick={() => navigate(readView(address))}>
          {name}
        </button>
      ))}
    </>
  );
}

/** Puts the page into its document. */

import { render } from "preact";
import { App } from "./app";

export function open(): void {
  const root = document.getElementById("app");
  if (root === null) throw new Error("index.html has no #app");
  render(<App />, root);
}

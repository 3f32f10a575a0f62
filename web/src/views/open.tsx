/** Puts the page into its document. */

import { render } from "preact";
import { FlameCanvas } from "../render/flame-canvas";
import { App } from "./app";

/** Has the graph's font loaded while the answer is still under way. */
export function prepare(): void {
  new FlameCanvas(document.createElement("canvas"));
}

export function open(): void {
  const root = document.getElementById("app");
  if (root === null) throw new Error("index.html has no #app");
  render(<App />, root);
}

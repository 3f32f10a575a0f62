/**
 * Opens the page. The questions are asked by a small script, at once; what draws is a larger one, which the browser fetches and
 * compiles while they are answered.
 */

import "uplot/dist/uPlot.min.css";
import "./styles/index.css";
import { firstAnswer, startRefreshing } from "./state/refresh";

/** An answer that comes sooner is drawn with the page, at one go; without it the page shows that it waits. */
const PATIENCE_MS = 250;

const patience = new Promise((resolve) => setTimeout(resolve, PATIENCE_MS));
startRefreshing();
void import("./views/open").then(async ({ open, prepare }) => {
  prepare();
  await Promise.race([firstAnswer(), patience]);
  open();
});

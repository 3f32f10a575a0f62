/** Opens the page. */

import { render } from "preact";
import { startRefreshing } from "./state/refresh";
import "uplot/dist/uPlot.min.css";
import "./styles/index.css";
import { App } from "./views/app";

const root = document.getElementById("app");
if (root === null) throw new Error("index.html has no #app");
// Asked before anything is drawn: the answer travels while the page is built.
startRefreshing();
render(<App />, root);

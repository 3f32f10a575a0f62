/** Opens the page. */

import { render } from "preact";
import { startRefreshing } from "./state/refresh";
import "uplot/dist/uPlot.min.css";
import "./styles/index.css";
import { App } from "./views/app";

const root = document.getElementById("app");
if (root === null) throw new Error("index.html has no #app");
render(<App />, root);
startRefreshing();

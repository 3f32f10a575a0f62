/** d3-flame-graph and what it needs, as one module. */

export { default } from "d3-flame-graph";
export { select } from "d3-selection";

/** What the page asks for below a zoomed frame while frames are hidden must be a node that the server has. */

import { expect, test } from "vitest";
import { decodeFlameGraph } from "../api/decode";
import { flameGraphFromStacks, nodeByNames, profileFromText } from "../testing/profile-from-text";
import { nodeName } from "./call-tree";
import { pathHash } from "./focus-path";
import { frameMask, parseSearch } from "./search";
import { hiddenNodes, isOwn, NOT_TIDIED, nodeBehind, OWN_FRAME, type Tidy, tidyTree, USUAL_TIDY } from "./tidy";

const { tree } = profileFromText(`
  main  main  main  main  main
  wrap  wrap  wrap  a     a
  a     a     a     b
  b     b
`);
const behind = (change: Partial<Tidy>, ...names: string[]): number => {
  const tidy = { ...NOT_TIDIED, ...change };
  const shown = tidyTree(tree, tidy);
  return nodeBehind(tree, tidy, pathHash(shown, nodeByNames(shown, ...names)));
};

test("behind a frame that is shown is the largest of the nodes that it was made of", () => {
  expect(behind({ hide: ["wrap"] }, "main", "a")).toBe(nodeByNames(tree, "main", "wrap", "a"));
  expect(behind({ hide: ["wrap"] }, "main", "a", "b")).toBe(nodeByNames(tree, "main", "wrap", "a", "b"));
  expect(behind({ fold: ["wrap"] }, "main", "wrap")).toBe(nodeByNames(tree, "main", "wrap"));
  expect(behind({ hide: ["main"] }, "a")).toBe(nodeByNames(tree, "main", "a"));
});

test("behind a path that the tidied tree has not is nothing", () => {
  const path = pathHash(tree, nodeByNames(tree, "main", "wrap"));
  expect(nodeBehind(tree, { ...NOT_TIDIED, hide: ["wrap"] }, path)).toBe(-1);
});

/** The profiler's processes are one frame, the last one however heavy; nothing of their samples is lost, and other processes stay as they are. */
test("what the profiler itself took is one frame after all others", () => {
  const { tree } = profileFromText(`
    profiler[p] profiler[p] profiler[p] profiler-names[p] web[p]
    main        main        main        main              main
    run         run         read        parse             serve
  `);
  const own = ["profiler", "profiler-names"];
  const shown = tidyTree(tree, { ...NOT_TIDIED, own: true }, own);
  const below = [...shown.depth.keys()].filter((i) => shown.depth[i] === 1);
  expect(below.map((i) => [nodeName(shown, i), shown.total[i], shown.self[i]])).toEqual([
    ["web", 1, 0],
    [OWN_FRAME, 4, 4],
  ]);
  expect(below.map((i) => isOwn(shown, i))).toEqual([false, true]);
  expect(shown.total[0]).toBe(tree.total[0]);
  expect(tidyTree(tree, { ...NOT_TIDIED, own: true }, [])).toEqual(tree);
  expect(USUAL_TIDY.own && USUAL_TIDY.plumbing).toBe(true);
});

/** What a search finds in frames that are hidden, or collapsed, by themselves is counted, whatever else it finds; what is shown is not. */
test("matches in hidden frames are counted", () => {
  const { tree } = profileFromText(`
    web[p] web[p]    web[p] profiler[p] profiler[p]
    _start _start    main   _start      main
    main   main      start  main        start
           start_all
  `);
  const hidden = (text: string, change: Partial<Tidy>): number =>
    hiddenNodes(tree, { ...NOT_TIDIED, ...change }, ["profiler"], frameMask(tree.frames, parseSearch(text)));
  expect(hidden("start", USUAL_TIDY)).toBe(3);
  expect(hidden("start", { plumbing: true })).toBe(2);
  expect(hidden("start", { own: true })).toBe(2);
  expect(hidden("start", { hide: ["start"] })).toBe(0);
  expect(hidden("main", USUAL_TIDY)).toBe(2);
  expect(hidden("", USUAL_TIDY)).toBe(0);
});

/** How the standard library of C++ comes to a thread's or a callback's code, by debug information and by the linker's names. */
test("what std::thread puts around a function is plumbing", () => {
  const stack = [
    "pool[p]",
    "start_thread",
    "execute_native_thread_routine",
    "std::thread::_State_impl<std::thread::_Invoker<std::tuple<job> > >::_M_run()",
    "_M_run",
    "std::thread::_Invoker<std::tuple<job> >::operator()()",
    "void std::__invoke_impl<void, job>(std::__invoke_other, job&&)",
    "__invoke_impl<void, job>",
    "__invoke<job>",
    "invoke<job>",
    "_M_invoke<0>",
    "work",
    "invoke_hook",
  ];
  const { tree } = decodeFlameGraph(flameGraphFromStacks([stack]));
  const shown = tidyTree(tree, { ...NOT_TIDIED, plumbing: true });
  const names = Array.from({ length: shown.size }, (_, i) => nodeName(shown, i));
  expect(names).toEqual(["all", "pool", "work", "invoke_hook"]);
});

/** Entry points and dispatch are hidden where they only pass on; an interpreter's loop that does the work is not. */
test("plumbing that does the work is shown", () => {
  const { tree } = profileFromText(`
    py[p]                    py[p]                    web[p]
    _start                   _start                   _start
    _PyEval_EvalFrameDefault _PyEval_EvalFrameDefault main
                             list_sort
  `);
  const shown = tidyTree(tree, { ...NOT_TIDIED, plumbing: true });
  const names = Array.from({ length: shown.size }, (_, i) => `${" ".repeat(shown.depth[i])}${nodeName(shown, i)}`);
  expect(names).toEqual(["all", " py", "  _PyEval_EvalFrameDefault", "   list_sort", " web", "  main"]);
});

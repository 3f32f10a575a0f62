/**
 * Every view beside the flame graph, by mouse and by keyboard, and that their figures are those of the folded export. Runs
 * against the mock server, or against a real profiler when PROFILER_URL is set.
 */

import { describe, expect, test } from "vitest";
import { seriousFaults } from "./accessibility";
import { real, usePage } from "./person";

const person = usePage();

/** A range that is over, so that every question about it has the same answer. */
async function fixedRange(): Promise<string> {
  const status = await ask<{ database: { oldest_ms: number; newest_ms: number } }>("status");
  const to = status.database.newest_ms;
  return `from=${Math.max(status.database.oldest_ms, to - 3_600_000)}&to=${to}`;
}

function ask<T>(path: string): Promise<T> {
  return person.page.evaluate(async (asked) => {
    const response = await fetch(`api/v1/${asked}`);
    return (asked.startsWith("export") ? response.text() : response.json()) as Promise<T>;
  }, path);
}

interface Stack {
  frames: string[];
  samples: number;
}

async function foldedStacks(range: string): Promise<Stack[]> {
  const text = await ask<string>(`export/folded?${range}`);
  return text
    .trimEnd()
    .split("\n")
    .map((line) => {
      const at = line.lastIndexOf(" ");
      return { frames: line.slice(0, at).split(";"), samples: Number(line.slice(at + 1)) };
    });
}

const sum = (stacks: Stack[]) => stacks.reduce((total, stack) => total + stack.samples, 0);
const grouped = (n: number) => n.toLocaleString("en-US");

describe("figures", () => {
  test("equal the folded export in graph, table, tree, sandwich and diff, to the sample", {
    timeout: 90_000,
  }, async () => {
    const range = await fixedRange();
    const stacks = await foldedStacks(range);
    const all = sum(stacks);
    await person.visit(`?${range}&tab=table`);
    await person.page.waitForSelector("table.top tbody .function");
    await expect.poll(() => person.page.locator(".quality").innerText()).toContain(`${grouped(all)} samples in view`);

    // A function whose name no other frame has, so that names are enough to find it in the export.
    const top = await ask<{ rows: { name: string; kind: number; self: number; total: number }[] }>(
      `top?${range}&limit=1000`,
    );
    const names = new Map<string, number>();
    for (const { name } of top.rows) names.set(name, (names.get(name) ?? 0) + 1);
    const row = top.rows.find(
      (one) => [2, 3, 4].includes(one.kind) && names.get(one.name) === 1 && !/[;\s]/.test(one.name),
    );
    if (row === undefined) throw new Error("no function to look for");
    const ownFrames = (frame: string) => frame.replace(/_\[[kij]\]$/, "") === row.name;
    const total = sum(stacks.filter(({ frames }) => frames.slice(1).some(ownFrames)));
    const self = sum(stacks.filter(({ frames }) => frames.length > 1 && ownFrames(frames[frames.length - 1])));
    expect({ self: row.self, total: row.total }).toEqual({ self, total });

    // Table: the title of each figure has the samples.
    await person.page.fill("#search", `"${row.name}"`);
    const cells = person.page.locator("table.top tbody tr td.number");
    await expect.poll(() => cells.nth(0).getAttribute("title")).toBe(`${grouped(self)} samples`);
    expect(await cells.nth(1).getAttribute("title")).toBe(`${grouped(total)} samples`);

    // Sandwich: the middle, and both halves at their roots.
    await person.page.locator("table.top tbody .function .link").first().click();
    await person.page.keyboard.press("Escape");
    await person.page.getByRole("button", { name: "Sandwich", exact: true }).click();
    await expect
      .poll(() => person.page.locator(".filling").innerText())
      .toMatch(new RegExp(`${grouped(total)} samples[\\s\\S]*${grouped(self)} samples`));

    // Tree: it opens at the chosen function; its first row is everything.
    await person.page.fill("#search", "");
    await person.page.getByRole("tab", { name: "Tree" }).click();
    await person.page.getByRole("treegrid").press("Home");
    await expect
      .poll(() => person.page.locator("#node-0 td.number").first().getAttribute("title"))
      .toBe(`${grouped(all)} samples`);

    // Diff: both sides at the root.
    const [, from, to] = /from=(\d+)&to=(\d+)/.exec(range)?.map(Number) ?? [0, 0, 0];
    const middle = Math.floor((from + to) / 2);
    const [before, after] = await Promise.all([
      foldedStacks(`from=${from}&to=${middle}`),
      foldedStacks(`from=${middle}&to=${to}`),
    ]);
    await person.visit(`?from=${middle}&to=${to}&tab=diff&base=${from}-${middle}`);
    await expect
      .poll(() => person.details())
      .toMatch(new RegExp(`before 100 %\\s*\\(${grouped(sum(before))}\\), now 100 %\\s*\\(${grouped(sum(after))}\\)`));
  });
});

describe("the graph", () => {
  /** Nothing moves under the pointer: a range that is over, asked for once. */
  async function still(): Promise<void> {
    await person.visit(`?${await fixedRange()}`);
    await person.graph();
  }

  test("hides, folds and merges frames without losing a sample, and says so in the address", async () => {
    await still();
    const before = await person.details();
    const { name } = await person.hoverFunction();
    await person.page.keyboard.press("h");
    await expect.poll(() => person.params().getAll("hide")).toEqual([`"${name}"`]);
    await person.page.mouse.move(5, 5);
    await expect.poll(() => person.details()).toBe(before);
    await person.page.locator(".tidy summary").click();
    await person.page.getByLabel("Merge recursion").check();
    await person.param("tidy", /recursion/);
    await person.page.getByLabel("Hide frames").fill("kind:kernel");
    await person.page.keyboard.press("Enter");
    await expect.poll(() => person.params().getAll("hide")).toContain("kind:kernel");
    await expect.poll(() => person.page.locator(".legend").innerText()).not.toContain("kernel");
    await person.page.getByRole("button", { name: "Show all frames" }).click();
    await person.param("hide", null);
    await person.param("tidy", /none/);
    // Names are the server's: shorter ones are another question, of the same samples.
    await person.page.mouse.move(5, 5);
    const all = await person.details();
    await person.answerTo(
      () => person.page.locator(".tidy").getByLabel("Names").selectOption("simple"),
      "demangle",
      /simple/,
    );
    await person.param("names", /simple/);
    await expect.poll(() => person.details()).toBe(all);
  });

  test("hears a key about the frame under the pointer between an answer and its drawing, and with a button in focus", async () => {
    await person.page.getByRole("button", { name: "Root at the bottom" }).focus();
    const { name } = await person.hoverFunction();
    // From here on nothing is drawn, as when the machine is busy.
    const answered = await person.page.evaluate(() => {
      window.requestAnimationFrame = () => 1;
      return performance.getEntriesByName("decode").length;
    });
    if (real === undefined) {
      const asked = () => person.page.evaluate(() => performance.getEntriesByName("decode").length);
      await expect.poll(asked, { timeout: 20_000 }).toBeGreaterThan(answered);
    }
    await person.page.keyboard.press("h");
    await expect.poll(() => person.params().getAll("hide")).toEqual([`"${name}"`]);
  });

  test("colours by kind, package, binary and function, and its legend highlights with the exact share", async () => {
    const select = person.page.locator(".legend-bar").getByLabel("Colour by");
    for (const mode of ["package", "binary", "name", "kind"]) {
      await select.selectOption(mode);
      await person.param("color", mode === "kind" ? null : new RegExp(mode));
    }
    await person.page.locator(".legend button").first().click();
    await person.param("search", /^kind:/);
    await expect.poll(() => person.page.locator(".found").innerText()).toMatch(/%.*frames/s);
    await person.page.locator(".legend button[aria-pressed=true]").click();
    await person.param("search", null);
    // With Alt it takes them out of the graph.
    const samples = await person.details();
    await person.page.locator(".legend button", { hasText: "kernel" }).click({ modifiers: ["Alt"] });
    await expect.poll(() => person.params().getAll("hide")).toEqual(["kind:kernel"]);
    await expect.poll(() => person.page.locator(".legend").innerText()).not.toContain("kernel");
    if (real === undefined) expect(await person.details()).toBe(samples);
  });

  test("groups the root by a label, whose values are filtered by from the menu", async () => {
    const first = await person.hover(1, 0.01);
    await person.page.locator(".legend-bar").getByLabel("Group by").selectOption("unit");
    await person.param("group", /unit/);
    await expect.poll(() => person.hover(1, 0.01)).not.toBe(first);
    const value = await person.hover(1, 0.01);
    await person.page.mouse.click(...(await place(1)), { button: "right" });
    await person.page.getByRole("menuitem", { name: /Only this unit/ }).click();
    await expect.poll(() => person.params().get("filter")).toBe(`{unit="${value === "[no unit]" ? "" : value}"}`);
    await person.page.locator(".legend-bar").getByLabel("Group by").selectOption("");
    await person.param("group", null);
  });

  test.runIf(real === undefined)("fetches what was too small to send when one zooms in, to the sample", async () => {
    person.server.most = 500;
    await still();
    await expect.poll(() => person.page.locator(".quality").innerText()).toContain("small frames collapsed");
    const all = await person.details();
    const asked = () => person.server.asked.filter((one) => one.includes("below=")).length;
    expect(asked()).toBe(0);
    const unsent = async () => {
      const entry = person.page.locator(".legend button", { hasText: "collapsed" });
      return (await entry.count()) === 0 ? 0 : Number.parseFloat(/([\d.]+) %/.exec(await entry.innerText())?.[1] ?? "");
    };
    const before = await unsent();
    expect(before).toBeGreaterThan(0);
    await person.click(2, 0.01);
    await person.param("zoom", /^2-/);
    await expect.poll(asked).toBe(1);
    await expect.poll(unsent).toBeLessThan(before);
    // A link into what was not sent at first leads there all the same.
    await person.click(5, 0.3);
    await person.param("zoom", /^5-/);
    await person.page.mouse.move(5, 5);
    const name = await person.frameName();
    await person.page.reload();
    await person.graph();
    await expect.poll(() => person.frameName()).toBe(name);
    await person.page.keyboard.press("0");
    await person.param("zoom", null);
    await expect.poll(() => person.details()).toBe(all);
    // Nor are frames that are merged on the page in the way.
    const earlier = asked();
    await person.visit("?live=0&tidy=recursion");
    await person.graph();
    await person.click(2, 0.01);
    await person.param("zoom", /^2-/);
    await expect.poll(asked).toBe(earlier + 1);
    await expect.poll(unsent).toBeLessThan(before);
  });

  test("has a menu for each frame, by mouse, by key and by button", async () => {
    const { row, name } = await person.hoverFunction();
    await person.page.mouse.click(...(await place(row)), { button: "right" });
    const menu = person.page.getByRole("menu");
    expect(await menu.innerText()).toContain(name);
    await person.page.keyboard.press("ArrowDown");
    await person.page.keyboard.press("Escape");
    expect(await menu.count()).toBe(0);
    await person.page.locator(".flame-sticky canvas").focus();
    await person.page.keyboard.press("m");
    expect(await person.page.evaluate(() => document.activeElement?.getAttribute("role"))).toBe("menuitem");
    await person.page.keyboard.press("Escape");
    await person.page.getByRole("button", { name: "Actions" }).click();
    await person.page.getByRole("menuitem", { name: /Callers and callees/ }).click();
    await person.param("tab", /sandwich/);
  });

  async function place(row: number): Promise<[number, number]> {
    const box = await person.page.locator(".flame-sticky canvas").boundingBox();
    return [(box?.x ?? 0) + (box?.width ?? 0) * 0.02, (box?.y ?? 0) + row * 18 + 9];
  }
});

describe("the other views", () => {
  test("a sandwich is opened by a key, walked by clicks, and Back leads back", async () => {
    const { name } = await person.hoverFunction();
    await person.page.keyboard.press("f");
    await person.param("tab", /sandwich/);
    await expect.poll(() => person.page.locator(".filling .name").innerText()).toBe(name);
    expect(await person.page.locator(".sandwich .flame-sticky canvas").count()).toBe(2);
    const callees = person.page.locator(".half").nth(1).locator("canvas").first();
    const box = await callees.boundingBox();
    if (box === null) throw new Error("no callees");
    await person.page.mouse.click(box.x + 20, box.y + 18 + 9);
    await expect.poll(() => person.page.locator(".filling .name").innerText()).not.toBe(name);
    await person.page.goBack();
    await expect.poll(() => person.page.locator(".filling .name").innerText()).toBe(name);
    const typed = person.page.getByLabel("Choose a function");
    await typed.fill(name.slice(0, 4));
    await person.page.keyboard.press("Enter");
    await expect.poll(() => person.page.locator(".filling .name").count()).toBe(1);
  });

  test.runIf(real === undefined)(
    "a sandwich and the table have all of a function that was too small to send",
    async () => {
      const range = await fixedRange();
      const { rows } = await ask<{
        rows: { name: string; binary: string; file: string; kind: number; total: number }[];
      }>(`top?${range}&limit=100000`);
      const { name, binary, file, kind, total } = rows.filter((one) => one.kind === 2).at(-1) ?? rows[0];
      person.server.most = 500;
      const asked = () => person.server.asked.filter((one) => one.includes("around=")).length;
      const says = (text: string) => expect.poll(() => person.page.locator("#panel").innerText()).toContain(text);
      // The answer is held back until what is there without it has been looked at; the first one makes no sense.
      let letGo = (): void => {};
      const looked = new Promise<void>((resolve) => {
        letGo = resolve;
      });
      await person.visit(`?${range}&tab=table`);
      await person.page.waitForSelector("table.top tbody .function");
      expect(asked()).toBe(0);
      const address = (url: URL): boolean => url.searchParams.has("around");
      await person.page.route(address, (route) => looked.then(() => route.fulfill({ json: {} })));
      await person.page.fill("#search", `"${name}"`);
      await person.page.locator("table.top tbody .function .link").first().click();
      await person.page.getByRole("button", { name: "Sandwich", exact: true }).click();
      await says("was too small to send at first");
      letGo();
      await says("could not be had");
      await person.page.unroute(address);
      const fn = encodeURIComponent(`${kind}|${binary ?? ""}|${file ?? ""}|${name}`);
      await person.visit(`?${range}&tab=sandwich&fn=${fn}`);
      await says(`${grouped(total)} samples`);
      expect(asked()).toBe(1);
      await person.page.getByRole("tab", { name: "Table" }).click();
      await expect.poll(() => person.page.locator(".beside .neighbour").count()).toBeGreaterThan(0);
      expect(asked()).toBe(1);
      // Frames that are merged here are not in the way.
      await person.visit(`?${range}&tab=sandwich&tidy=recursion&fn=${fn}`);
      await says(`${grouped(total)} samples`);
    },
  );

  test("the tree is walked by keyboard and leads to the graph", async () => {
    await person.page.keyboard.press("2");
    const grid = person.page.getByRole("treegrid");
    await grid.focus();
    const level = () =>
      grid.evaluate((element) => {
        const row = document.getElementById(element.getAttribute("aria-activedescendant") ?? "");
        return `${row?.getAttribute("aria-level")} ${row?.getAttribute("aria-expanded")}`;
      });
    await person.page.keyboard.press("Home");
    await person.page.keyboard.press("ArrowDown");
    await expect.poll(level).toBe("2 true");
    await person.page.keyboard.press("ArrowLeft");
    await expect.poll(level).toBe("2 false");
    await person.page.keyboard.press("ArrowRight");
    await person.page.keyboard.press("ArrowRight");
    await expect.poll(level).toMatch(/^3 /);
    expect(await person.page.locator("[aria-live=polite]").innerText()).toMatch(/%/);
    await person.page.keyboard.press("Enter");
    await person.param("tab", null);
    await person.param("zoom", /^2-/);
  });

  test("the table shows callers and callees of the chosen function, and the graph has it chosen", async () => {
    await person.page.keyboard.press("3");
    await person.page.waitForSelector("table.top tbody .function");
    await person.page.locator(".top .function .link").nth(1).click();
    await expect.poll(() => person.page.locator(".beside h2").count()).toBe(1);
    await person.page.keyboard.press("ArrowDown");
    await expect.poll(() => person.page.locator("tr.chosen").count()).toBe(1);
    const name = await person.page.locator(".beside h2").innerText();
    expect(await person.page.locator(".neighbour").count()).toBeGreaterThan(0);
    await person.page.keyboard.press("1");
    await person.page.mouse.move(5, 5);
    await expect.poll(() => person.frameName()).toBe(name);
  });

  test("a diff compares with the span before, and with any other", async () => {
    await person.page.keyboard.press("d");
    await expect.poll(() => person.page.locator(".sides").innerText()).toMatch(/Before [\d: -]+ – /);
    await person.page.getByRole("button", { name: "1 h earlier" }).click();
    await person.param("base", /^\d+-\d+$/);
    await person.page.getByLabel("absolute").check();
    await person.param("diff", /absolute/);
    await person.page.getByRole("button", { name: "just before" }).click();
    await person.param("base", null);
  });

  test("a diff has both its spans on one timeline, where Shift and a drag choose the earlier one", async () => {
    await person.page.keyboard.press("d");
    await person.page.locator(".sides").getByRole("button", { name: "halves" }).click();
    await person.param("base", /^\d+-\d+$/);
    await person.param("brush", /^\d+-\d+$/);
    const hidden = () =>
      person.page.locator(".brush").evaluateAll((all) => all.map((one) => one.hasAttribute("hidden")));
    await expect.poll(hidden).toEqual([false, false]);
    const [base, brush] = [person.params().get("base"), person.params().get("brush")];
    await person.page.keyboard.down("Shift");
    await person.brush(0.02, 0.45);
    await person.page.keyboard.up("Shift");
    await expect.poll(() => person.params().get("base")).not.toBe(base);
    expect(person.params().get("brush")).toBe(brush);
    // Elsewhere Shift means nothing, and what was compared is not in the way.
    await person.page.keyboard.press("1");
    await expect.poll(() => person.page.locator(".brush.base").isHidden()).toBe(true);
  });

  test.each(["sandwich", "source"])("%s offers the heaviest functions before one is chosen", async (tab) => {
    await person.visit(`?tab=${tab}`);
    const first = person.page.locator(".heaviest .link").first();
    const name = await first.innerText();
    await first.focus();
    await person.page.keyboard.press("Enter");
    await expect.poll(() => person.page.locator(".filling .name").innerText()).toBe(name);
  });

  test.runIf(real === undefined)(
    "a diff fetches what was too small to send when one zooms in",
    { timeout: 60_000 },
    async () => {
      person.server.most = 500;
      const below = () => person.server.asked.filter((one) => /diff\?.*below=/.test(one)).length;
      await person.visit("?live=0&tab=diff");
      await person.graph();
      // Of points all over the graph, those where something too small to send is.
      const unsent = () =>
        person.page.evaluate(async () => {
          const canvas = document.querySelector(".flame-sticky canvas");
          const box = canvas?.getBoundingClientRect() ?? new DOMRect();
          let found = 0;
          for (let i = 0; i < 60; i++) {
            const [clientX, clientY] = [
              box.left + (box.width * ((i % 12) + 0.5)) / 12,
              box.top + (8 + (i % 5)) * 18 + 9,
            ];
            canvas?.dispatchEvent(
              new PointerEvent("pointermove", { bubbles: true, pointerType: "mouse", clientX, clientY }),
            );
            await new Promise(requestAnimationFrame);
            if (document.querySelector(".details .name")?.textContent?.includes("smaller frames")) found++;
          }
          return found;
        });
      // The answer is held back until what is there without it has been looked at.
      let letGo = (): void => {};
      const looked = new Promise<void>((resolve) => {
        letGo = resolve;
      });
      await person.page.route(/diff\?.*below=/, (route) => looked.then(() => route.continue()));
      await person.click(2, 0.3);
      await person.param("zoom", /^2-/);
      const before = await unsent();
      expect(before).toBeGreaterThan(0);
      expect(below()).toBe(0);
      letGo();
      await expect.poll(below).toBe(1);
      await expect.poll(unsent, { timeout: 20_000 }).toBeLessThan(before);
      // Not asked for again.
      await person.page.keyboard.press("0");
      await person.param("zoom", null);
      expect(below()).toBe(1);
    },
  );

  test("a heat map selects a span, and its graph is of that span", async () => {
    await person.page.keyboard.press("6");
    const map = person.page.locator(".heat-canvas canvas");
    await map.waitFor();
    // Both axes say what they are.
    expect(await person.page.locator(".heat-columns span").first().innerText()).toMatch(/\d\d:\d\d/);
    expect(await person.page.locator(".heat-rows").innerText()).toMatch(/^\+[\d.]+ m?(s|in)[\s\S]*\+0$/);
    const box = await map.boundingBox();
    if (box === null) throw new Error("no heat map");
    const [asked] = await Promise.all([
      person.page.waitForRequest((request) => request.url().includes("heatmap/flamegraph")),
      (async () => {
        await person.page.mouse.move(box.x + box.width * 0.6, box.y + 10);
        await person.page.mouse.down();
        await person.page.mouse.move(box.x + box.width * 0.9, box.y + box.height - 9, { steps: 4 });
        await person.page.mouse.up();
      })(),
    ]);
    await person.param("box", /^\d+x\d+:\d+-\d+:\d+-\d+$/);
    await person.param("from", /^\d+$/);
    expect(person.params().get("box")).toContain(`:${new URL(asked.url()).searchParams.get("column_from")}-`);
    await map.focus();
    await person.page.keyboard.press("Escape");
    await person.param("box", null);
    await person.page.keyboard.press("ArrowRight");
    await person.page.keyboard.press("Shift+ArrowUp");
    await person.page.keyboard.press("Enter");
    await person.param("box", /^\d+x\d+:\d+-\d+:\d+-\d+$/);
    if (real === undefined) {
      // What a function's lines took is of the box too.
      const column = /:(\d+)-/.exec(person.params().get("box") ?? "")?.[1];
      await person.page.keyboard.press("1");
      await person.page.waitForSelector(".flame-sticky canvas");
      await person.hoverFunction();
      const [lines] = await Promise.all([
        person.page.waitForRequest((request) => request.url().includes("api/v1/source?")),
        person.page.keyboard.press("a"),
      ]);
      expect(new URL(lines.url()).searchParams.get("column_from")).toBe(column);
      await person.page.keyboard.press("6");
      await map.waitFor();
    }
    await person.page.getByRole("button", { name: "Zoom in", exact: true }).click();
    await person.param("box", null);
  });

  test("quality says what is missing and what helps", async () => {
    await person.page.locator(".quality .link").click();
    await person.param("tab", /quality/);
    await expect.poll(() => person.page.locator(".card").count()).toBeGreaterThanOrEqual(6);
    const text = await person.page.locator(".quality-page").innerText();
    for (const title of ["Complete stacks", "Named functions", "Samples kept", "Time sampled", "Own cost"])
      expect(text).toContain(title);
    // A host of its own has no ticks missed, or some.
    if (real !== undefined) return;
    const sampled = person.page.locator(".card", { hasText: "Time sampled" });
    // The server's share of the whole range, not a mean of buckets.
    expect(await sampled.locator("h2").innerText()).toContain("99.0 %");
    const missed = sampled.locator("tr", { hasText: "another eBPF program" });
    expect(await missed.innerText()).toMatch(/1,940 \(99[.\d]* %\)[\s\S]*bpftool/);
  });

  test("source and assembly are opened by key and button, linked both ways, and lead back", async () => {
    const { name } = await person.hoverFunction();
    await person.page.keyboard.press("a");
    await person.param("tab", /source/);
    await expect.poll(() => person.page.locator(".filling .name").innerText()).toBe(name);
    const part = (title: string) => person.page.getByRole("region", { name: title, exact: true });
    // Of a real function there may be no text or no code; then it says why.
    await expect.poll(() => part("Source").locator("[data-row], .code-reason").count()).toBeGreaterThan(0);
    await expect.poll(() => part("Assembly").locator("[data-row], .code-reason").count()).toBeGreaterThan(0);
    if (real === undefined) {
      // The heaviest are in sight.
      await expect.poll(() => part("Source").locator(".chosen .mark").innerText()).toBe("120");
      await expect.poll(() => part("Assembly").locator(".chosen").getAttribute("data-row")).toBe("61");
      await part("Assembly").locator("[data-row='64']").click();
      await person.param("line", /^121$/);
      expect(await part("Source").locator(".chosen .mark").innerText()).toBe("121");
      expect(await part("Assembly").locator(".linked, .chosen").count()).toBe(3);
      await part("Source").locator(".code-scroller").focus();
      await person.page.keyboard.press("ArrowDown");
      await person.param("line", /^122$/);
      await expect.poll(() => part("Assembly").locator(".chosen").getAttribute("data-row")).toMatch(/^6[678]$/);
      await part("Source").getByRole("button", { name: "Next hot line" }).click();
      await person.param("line", /^(120|133)$/);
    }
    await person.page.locator(".segments").getByRole("button", { name: "Assembly", exact: true }).click();
    await person.param("code", /assembly/);
    expect(await part("Source").count()).toBe(0);
    await person.page.getByRole("button", { name: "In the flame graph" }).click();
    await person.param("tab", null);
    await person.graph();
    await person.click((await person.hoverFunction()).row);
    await person.page.locator(".details").getByRole("button", { name: "Source" }).click();
    await person.param("tab", /source/);
  });

  test("source and assembly say that a function is not in the range, and the browser logs no error", async () => {
    const elsewhere = encodeURIComponent("2|/usr/bin/app||no function has this name");
    await person.visit(`?tab=source&fn=${elsewhere}`);
    const reasons = () => person.page.locator(".code-reason").allInnerTexts();
    await expect.poll(reasons).toEqual(Array(2).fill(expect.stringContaining("no sample of this range and filter")));
  });

  test("quality lists the files with where their names came from", async () => {
    await person.page.keyboard.press("8");
    const card = person.page.locator(".card.wide");
    await expect.poll(() => card.locator("tbody tr").count()).toBeGreaterThan(0);
    if (real === undefined) {
      expect(await card.locator("tbody tr").first().innerText()).toMatch(/libcodec.*dynamic symbols.*dbgsym/s);
    } else {
      expect(await card.locator(".copy").first().innerText()).toContain("profiler symbolize --db ");
    }
  });

  test.each(["tree", "sandwich", "diff", "heatmap", "source", "quality"])(
    "%s has no serious fault of accessibility",
    async (tab) => {
      const { name } = await person.hoverFunction();
      await person.page.keyboard.press("f");
      await person.param("fn", /./);
      const fn = encodeURIComponent(person.params().get("fn") ?? name);
      await person.visit(`?tab=${tab}&fn=${fn}`);
      await person.page.waitForSelector(".panel-content canvas, [role=treegrid], .card, .empty h2, .code-part");
      // While a view fades in, its contrast is too low for a moment.
      await expect.poll(() => seriousFaults(person.page)).toEqual([]);
    },
  );
});

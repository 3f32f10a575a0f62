/**
 * What a person does with the page, in a real browser. Runs against the mock server, or against a real profiler when
 * PROFILER_URL is set; nothing here depends on the values of the mock.
 */

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { seriousFaults } from "./accessibility";
import { real, usePage } from "./person";

const person = usePage();

describe("the page", () => {
  test("opens with host, timeline, processes and a flame graph, and follows the present", async () => {
    await expect.poll(() => person.page.locator(".host strong").innerText()).not.toBe("");
    await expect.poll(() => person.page.locator(".chart canvas").count()).toBe(1);
    await expect.poll(() => person.page.locator(".facet-value").count()).toBeGreaterThan(0);
    expect(await person.page.getByRole("switch", { name: "Live" }).getAttribute("aria-checked")).toBe("true");
    expect(await person.page.locator(".quality").innerText()).toMatch(/[\d,]+ samples in view/);
    expect(await person.page.title()).toMatch(/profiler$/);
  });

  test("asks everything of its own origin, relative to where it is served", async () => {
    const asked = await person.page.evaluate(() => performance.getEntriesByType("resource").map((entry) => entry.name));
    expect(asked.length).toBeGreaterThan(4);
    for (const address of asked) expect(address.startsWith(person.base), address).toBe(true);
  });

  test("says everything about the frame under the pointer at once", async () => {
    expect(await person.hover(0)).toBe("all");
    const name = await person.hover(1);
    expect(name).not.toBe("all");
    expect(await person.details()).toMatch(/total .*%.* samples.*self/s);
    expect(await person.page.locator(".tooltip .name").innerText()).toBe(name);
  });

  test("says which build of its file a frame is of", async () => {
    const details = () => person.page.locator(".details").innerText();
    const { row } = await person.hoverFunction();
    if (real === undefined) {
      // Down until there is a frame of the one file whose build the stand-in knows.
      let at = row;
      while (!/bin\/postgres/.test(await details()) && at < row + 20) await person.hover(++at);
      await expect.poll(details).toMatch(/bin\/postgres · build id c0ffee1234/);
    } else {
      await expect
        .poll(() => person.page.evaluate(() => performance.getEntriesByType("resource").map((r) => r.name)))
        .toContainEqual(expect.stringContaining("api/v1/binaries"));
    }
  });

  test("zooms into a frame on a click, and Back, Escape and 0 zoom out", async () => {
    const name = await person.hover(1);
    await person.click(1);
    await expect.poll(() => person.params().get("zoom")).toMatch(/^1-/);
    expect(await person.hover(1, 0.98)).toBe(name);
    await person.click(2);
    await expect.poll(() => person.params().get("zoom")).toMatch(/^2-/);
    await person.page.goBack();
    await expect.poll(() => person.params().get("zoom")).toMatch(/^1-/);
    await person.page.keyboard.press("Escape");
    await expect.poll(() => person.params().get("zoom")).toBeNull();
    await person.click(2);
    await expect.poll(() => person.params().get("zoom")).toMatch(/^2-/);
    await person.page.keyboard.press("0");
    await expect.poll(() => person.params().get("zoom")).toBeNull();
  });

  test("finds a frame by its name and says its exact share", async () => {
    const name = await person.hover(1);
    const share = /total ([\d.]+ %)/.exec(await person.details())?.[1];
    await person.page.keyboard.press("/");
    await person.page.keyboard.type(`"${name}"`);
    // Recorded for real, a function may have the name of a process, and the numbers move on.
    await expect.poll(() => person.page.locator(".found").innerText()).toContain(real === undefined ? share : "%");
    await person.page.keyboard.press("Enter");
    await expect.poll(() => person.page.locator(".found").innerText()).toMatch(/1 of \d/);
    await person.page.mouse.move(5, 5);
    expect(await person.frameName()).toBe(name);
    await person.page.keyboard.press("Escape");
    expect(await person.page.inputValue("#search")).toBe("");
  });

  test("takes every letter of a search that begins with Ctrl+F, and no shortcut with it", async () => {
    await person.page.keyboard.press("Control+f");
    await person.page.keyboard.type("tiln0i?");
    expect(await person.page.inputValue("#search")).toBe("tiln0i?");
    await expect.poll(() => person.params().get("search")).toBe("tiln0i?");
    expect(person.params().get("root")).toBeNull();
    expect(person.params().get("live")).toBeNull();
  });

  test("marks a regular expression that is not one instead of failing", async () => {
    await person.page.fill("#search", "/(/");
    expect(await person.page.locator("#search").getAttribute("aria-invalid")).toBe("true");
    await person.page.fill("#search", "/./");
    await expect.poll(() => person.page.locator(".found").innerText()).toMatch(/100 %|99\.9 %/);
  });

  test("walks the graph with the arrow keys and says where it is", async () => {
    await person.page.locator(".flame-sticky canvas").focus();
    await person.page.keyboard.press("ArrowDown");
    await person.page.keyboard.press("ArrowDown");
    const said = await person.page.locator("[aria-live=polite]").innerText();
    expect(said).toMatch(/%/);
    await person.page.keyboard.press("Enter");
    await expect.poll(() => person.params().get("zoom")).toMatch(/^2-/);
    await person.page.keyboard.press("Backspace");
    await expect.poll(() => person.params().get("zoom")).toMatch(/^1-/);
  });

  test("shows the flame graph of what is brushed on the timeline", async () => {
    const asked = await person.answerTo(() => person.brush(0.55, 1), "from", /^\d+$/);
    const [from, to] = (person.params().get("brush") ?? "").split("-").map(Number);
    expect(to).toBeGreaterThan(from);
    expect([asked.searchParams.get("from"), asked.searchParams.get("to")]).toEqual([String(from), String(to)]);
    expect(await person.page.locator(".brush:not(.base)").isVisible()).toBe(true);
    await person.page.locator(".selection").getByRole("button", { name: "Reset" }).click();
    await expect.poll(() => person.params().get("brush")).toBeNull();
    await person.answerTo(() => person.brush(0.5, 1), "from", /^\d+$/);
    await person.page.locator(".chart .u-over").dblclick();
    await expect.poll(() => person.params().get("brush")).toBeNull();
  });

  test("keeps a drag on the timeline alive while new data comes in", async () => {
    const box = await person.page.locator(".chart .u-over").boundingBox();
    if (box === null) throw new Error("no chart");
    const y = box.y + 30;
    await person.page.mouse.move(box.x + box.width * 0.4, y);
    await person.page.mouse.down();
    await person.page.mouse.move(box.x + box.width * 0.7, y, { steps: 4 });
    const width = () =>
      person.page.locator(".brush:not(.base)").evaluate((element) => element.getBoundingClientRect().width);
    const before = await width();
    await person.page.waitForResponse((response) => response.url().includes("api/v1/timeline"), { timeout: 12_000 });
    // What the answer changes is computed, then drawn, within these.
    await person.frames(6);
    expect(await width()).toBe(before);
    await person.page.mouse.move(box.x + box.width, y, { steps: 4 });
    await person.page.mouse.up();
    await expect.poll(() => person.params().get("brush")).toMatch(/^\d+-\d+$/);
  });

  test("filters by a process on a click and lets go on another", async () => {
    const process = person.page.locator(".facet-value").first();
    const name = await process.locator(".name").innerText();
    const asked = await person.answerTo(() => process.click(), "filter", /comm=/);
    expect(asked.searchParams.get("filter")).toContain(`comm="${name}"`);
    await expect.poll(() => person.page.locator(".facet-value[aria-pressed=true] .name").innerText()).toBe(name);
    await person.graph();
    expect(await person.hover(1, 0.5)).toBe(name);
    // The other processes are still there to be chosen.
    expect(await person.page.locator(".facet-value").count()).toBeGreaterThan(0);
    await person.page.locator(".facet-value[aria-pressed=true]").click();
    await expect.poll(() => person.params().get("filter")).toBeNull();
  });

  test("shows the server's objection to a filter below it, and forgets it with the filter", async () => {
    // The browser itself logs the 400.
    person.misdeeds.errors.length = 0;
    const filter = person.page.getByRole("combobox", { name: "Filter by labels" });
    await filter.fill('{comm=="x"}');
    await filter.press("Enter");
    await person.page.waitForSelector("#filter-problem");
    expect((await person.page.locator("#filter-problem").innerText()).length).toBeGreaterThan(20);
    await person.page.getByRole("button", { name: "Remove the filter" }).first().click();
    await expect.poll(() => person.page.locator("#filter-problem").count()).toBe(0);
    await person.graph();
    person.misdeeds.errors = person.misdeeds.errors.filter((error) => !error.includes("400"));
  });

  test("says that a filter leaves nothing, and offers to remove it", async () => {
    const filter = person.page.getByRole("combobox", { name: "Filter by labels" });
    await filter.fill('{comm="no process has this name"}');
    await filter.press("Enter");
    await expect.poll(() => person.page.locator(".empty h2").innerText()).toBe("No sample passes the filter");
    await person.page.locator(".empty").getByRole("button", { name: "Remove the filter" }).click();
    await person.graph();
    expect(person.params().get("filter")).toBeNull();
  });

  test("says that a range lies before the oldest data, and leads to it", async () => {
    await person.page.goto(`${person.base}?from=1000000000000&to=1000003600000`);
    await expect.poll(() => person.page.locator(".empty h2").innerText()).toBe("Nothing was kept from that time");
    await person.page.getByRole("button", { name: "Show the last hour" }).click();
    await person.graph();
  });

  test("downloads what is shown, in every format", async () => {
    await person.page.locator("summary[aria-label=Download]").click();
    const [download] = await Promise.all([
      person.page.waitForEvent("download"),
      person.page.getByRole("link", { name: /Folded stacks/ }).click(),
    ]);
    expect(download.suggestedFilename()).toMatch(/\.folded$/);
    const text = readFileSync(await download.path(), "utf8");
    const lines = text.trimEnd().split("\n");
    expect(lines.length).toBeGreaterThan(0);
    for (const line of lines.slice(0, 100)) expect(line).toMatch(/^.+ \d+$/);
    for (const [what, kind, begins] of [
      [/^Flame graph/, "svg", /^(<[?!][^>]*>\s*)*<svg /],
      [/^Call tree/, "json", /^\{".*"nodes":/s],
      [/^Functions/, "json", /^\{".*"rows":/s],
      [/^Page/, "html", /^<!doctype html>/i],
      [/^pprof/, "pb.gz", /^.\x8b/s],
    ] as const) {
      // The stand-in makes no page and no pprof.
      if (real === undefined && (kind === "html" || kind === "pb.gz")) continue;
      await person.page.locator("summary[aria-label=Download]").click();
      const [file] = await Promise.all([
        person.page.waitForEvent("download"),
        person.page.getByRole("link", { name: what }).click(),
      ]);
      expect(file.suggestedFilename()).toMatch(new RegExp(`\\.${kind}$`));
      const content = readFileSync(await file.path(), "latin1");
      expect(content).toMatch(begins);
      if (kind === "json") expect(JSON.parse(content).samples).toBeGreaterThan(0);
    }
  });

  test("lists every file with its names on the quality tab, and has them looked for again", async () => {
    await person.page.getByRole("tab", { name: "Quality" }).click();
    const card = person.page.locator(".card.wide");
    await expect.poll(() => card.locator("tbody tr").count()).toBeGreaterThan(0);
    await card.getByRole("button", { name: "Look for names again" }).click();
    await expect.poll(() => card.locator("[role=status]").innerText()).toMatch(/Looking again for|Nothing to be done/);
  });

  test("lists the functions in a table that sorts, filters and leads back to the graph", async () => {
    await person.page.getByRole("tab", { name: "Table" }).click();
    await person.page.waitForSelector("table.top tbody .function");
    // By another figure it may be another thousand of functions: the server is asked for them.
    await Promise.all([
      person.page.waitForResponse((response) => new URL(response.url()).searchParams.get("sort") === "total"),
      person.page.getByRole("button", { name: "Total" }).click(),
    ]);
    await expect.poll(() => person.params().get("sort")).toBe("-total");
    const totals = await person.page.locator("table.top tbody td:nth-child(2) .share").allInnerTexts();
    const numbers = totals.map((text) => Number.parseFloat(text));
    expect([...numbers].sort((a, b) => b - a)).toEqual(numbers);
    const function_ = person.page.locator("table.top tbody .function .link").first();
    const name = await function_.innerText();
    await function_.click();
    await person.page.getByRole("button", { name: "In the graph" }).click();
    await person.graph();
    expect(await person.page.inputValue("#search")).toBe(`"${name}"`);
    const total = totals[0].split(" ")[0];
    const found = person.page.locator(".found");
    if (real !== undefined) {
      await expect.poll(() => found.innerText()).toMatch(/%|Only in [\d,]+ hidden frame/);
      // The function with the most samples of a real host may be plumbing, which the graph hides at first: it says so, and shows it.
      const show = found.getByRole("button", { name: "Show them" });
      if (await show.isVisible()) await show.click({ timeout: 10_000 });
    }
    await expect.poll(() => found.innerText()).toContain(real === undefined ? total : "%");
  });

  test("comes back as it was after a reload", async () => {
    await person.answerTo(() => person.brush(0.4, 1), "from", /^\d+$/);
    const brushed = await person.page.locator(".brush:not(.base)").boundingBox();
    const name = await person.hover(1);
    await person.click(1);
    await expect.poll(() => person.params().get("zoom")).toMatch(/^1-/);
    await person.page.fill("#search", name);
    await person.page.keyboard.press("Escape");
    await person.page.fill("#search", name.slice(0, 3));
    await person.page.locator(".flame-sticky canvas").focus();
    await person.page.keyboard.press("i");
    await expect.poll(() => person.params().get("root")).toBe("below");
    await expect.poll(() => person.params().get("search")).toBe(name.slice(0, 3));
    const before = person.page.url();
    const found = await person.page.locator(".found p").innerText();
    await person.page.reload();
    await person.graph();
    expect(person.page.url()).toBe(before);
    expect(await person.page.inputValue("#search")).toBe(name.slice(0, 3));
    expect(await person.page.locator(".found p").innerText()).toContain(real === undefined ? found : "%");
    const place = await person.page.locator(".brush:not(.base)").boundingBox();
    // Of a live host the axis has moved on by some seconds, of the minute that there is.
    const moved = real === undefined ? 20 : 200;
    expect(Math.abs((place?.x ?? 0) - (brushed?.x ?? 0))).toBeLessThan(moved);
    expect(Math.abs((place?.width ?? 0) - (brushed?.width ?? 0))).toBeLessThan(moved);
    await person.page.mouse.move(5, 5);
    expect(await person.frameName()).toBe(name);
  });

  test("turns upside down, with the root at the bottom", async () => {
    await person.page.keyboard.press("i");
    await expect.poll(() => person.params().get("root")).toBe("below");
    const box = await person.page.locator(".flame-sticky canvas").boundingBox();
    if (box === null) throw new Error("no canvas");
    await person.page.mouse.move(box.x + 40, box.y + box.height - 9);
    expect(await person.frameName()).toBe("all");
  });

  test("is dark or light as the system is, until someone chooses", async () => {
    const theme = () => person.page.evaluate(() => document.documentElement.dataset.theme);
    await person.page.emulateMedia({ colorScheme: "dark" });
    await expect.poll(theme).toBe("dark");
    await person.page.emulateMedia({ colorScheme: "light" });
    await expect.poll(theme).toBe("light");
    await person.page.keyboard.press("t");
    await person.page.keyboard.press("t");
    await expect.poll(theme).toBe("dark");
    await person.page.reload();
    await expect.poll(theme).toBe("dark");
    // The theme is there before the keys are.
    await person.page.locator(".flame-sticky canvas").waitFor();
    await person.page.keyboard.press("t");
    await expect.poll(theme).toBe("light");
  });

  test("fits a phone without scrolling sideways", async () => {
    await person.page.setViewportSize({ width: 390, height: 844 });
    await expect.poll(() => person.page.evaluate(() => document.documentElement.scrollWidth)).toBe(390);
    await expect.poll(async () => (await person.page.locator(".flame-sticky canvas").boundingBox())?.width).toBe(390);
    // So does every other view, with its search in sight and no part of it as long as a book.
    for (const key of "2345678") {
      await person.page.keyboard.press(key);
      await person.page.waitForSelector(".panel-content canvas, [role=treegrid], .top, .card, .empty h2, .code-part");
      expect(await person.page.evaluate(() => document.documentElement.scrollWidth), key).toBe(390);
      const search = await person.page.locator("#search").evaluateAll((all) => all.map((one) => one.clientWidth));
      for (const width of search) expect(width, key).toBeGreaterThan(120);
      const rows = await person.page
        .locator(".facts tbody tr, .half")
        .evaluateAll((all) => all.map((one) => one.clientHeight));
      for (const height of rows) expect(height, key).toBeLessThan(400);
    }
    await person.page.keyboard.press("1");
    // A fixed range has a longer text.
    await person.visit(`?from=${Date.now() - 3_600_000}&to=${Date.now()}`);
    await person.page.waitForSelector(".panel-content canvas, .empty h2");
    expect(await person.page.evaluate(() => document.documentElement.scrollWidth)).toBe(390);
    // The labels are one touch away and leave the room to the graph.
    expect(await person.page.locator(".facet.open").count()).toBe(0);
    await person.page.locator(".facet button").first().click();
    await person.page.locator(".facet.open .facet-value").first().waitFor();
    for (const menu of await person.page.locator(".menu summary").all()) {
      await menu.click();
      expect(await person.page.evaluate(() => document.documentElement.scrollWidth)).toBe(390);
      await person.page.keyboard.press("Escape");
      expect(await person.page.locator(".menu[open]").count()).toBe(0);
    }
  });

  test("copies the name and the stack of a frame, by key and from the menu", async () => {
    await person.page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    const copied = () => person.page.evaluate(() => navigator.clipboard.readText());
    await person.visit("?live=0");
    await person.graph();
    const { row, name } = await person.hoverFunction();
    await person.page.keyboard.press("c");
    await expect.poll(copied).toBe(name);
    expect(await person.page.locator("[aria-live=polite]").innerText()).toBe(`Copied ${name}`);
    // A line for each frame from the process down, the root aside; a known place follows the name.
    await person.hover(row);
    await person.page.keyboard.press("Shift+C");
    await expect.poll(async () => (await copied()).split("\n").length).toBe(row);
    const stack = await copied();
    expect(stack.split("\n")[row - 1].startsWith(name)).toBe(true);
    const process = await person.hover(1);
    expect(stack.split("\n")[0]).toBe(process);
    for (const [item, text] of [
      [/Copy the name/, name],
      [/Copy the stack/, stack],
    ] as const) {
      await person.click(row);
      await person.page.keyboard.press("m");
      await person.page.getByRole("menuitem", { name: item }).click();
      await expect.poll(copied).toBe(text);
    }
  });

  test("says that it copied only when it did, also where browsers give the page no clipboard", async () => {
    // As on a page that came by plain HTTP from another host.
    await person.page.addInitScript(() => {
      Object.defineProperty(navigator, "clipboard", { value: undefined });
    });
    await person.visit("?live=0");
    await person.graph();
    const said = person.page.locator("[aria-live=polite]");
    const { name } = await person.hoverFunction();
    await person.page.keyboard.press("c");
    await expect.poll(() => said.innerText()).toBe(`Copied ${name}`);
    await person.page.evaluate(() => {
      document.execCommand = () => false;
    });
    await person.hoverFunction();
    await person.page.keyboard.press("c");
    await expect.poll(() => said.innerText()).toMatch(/did not let the page copy/);
  });

  test.runIf(real === undefined)(
    "shows a tall graph small at its side, where a click and a drag scroll it",
    async () => {
      await person.page.setViewportSize({ width: 1440, height: 600 });
      const map = person.page.locator(".minimap canvas");
      await expect.poll(() => map.isVisible()).toBe(true);
      const box = await map.boundingBox();
      if (box === null) throw new Error("no minimap");
      const scroller = person.page.locator(".flame-scroller");
      const scrolled = () => scroller.evaluate((element) => element.scrollTop);
      const most = await scroller.evaluate((element) => element.scrollHeight - element.clientHeight);
      expect(await scrolled()).toBe(0);
      await person.page.mouse.click(box.x + 20, box.y + box.height - 3);
      await expect.poll(scrolled).toBeCloseTo(most, -1);
      await person.page.mouse.move(box.x + 20, box.y + box.height - 3);
      await person.page.mouse.down();
      await person.page.mouse.move(box.x + 20, box.y + box.height / 2, { steps: 3 });
      await expect.poll(async () => Math.abs((await scrolled()) - most / 2)).toBeLessThan(20);
      await person.page.mouse.move(box.x + 20, box.y + 1, { steps: 3 });
      await person.page.mouse.up();
      await expect.poll(scrolled).toBe(0);
      // Moving over it without a button does nothing; what is in sight below is what the pointer meets.
      await person.page.mouse.move(box.x + 20, box.y + box.height / 2);
      expect(await scrolled()).toBe(0);
      // The graph keeps clear of it, and has the room back on a phone.
      const right = async () => {
        const canvas = await person.page.locator(".flame-sticky canvas").boundingBox();
        return (canvas?.x ?? 0) + (canvas?.width ?? 0);
      };
      expect(await right()).toBeLessThanOrEqual(box.x + 1);
      await person.page.setViewportSize({ width: 390, height: 844 });
      await expect.poll(() => map.isVisible()).toBe(false);
      await expect.poll(right).toBe(390);
    },
  );

  test.runIf(real === undefined)(
    "tells code that a program wrote while it ran by its colour and its word",
    async () => {
      await person.visit("?live=0");
      await person.graph();
      const entry = person.page.locator(".legend button", { hasText: "JIT" });
      await entry.press("Enter");
      await person.param("search", /^kind:jit$/i);
      await expect.poll(() => person.page.locator(".found").innerText()).toMatch(/%.*frames/s);
      // The first match, zoomed in on, is as wide as the graph; the tooltip has the word.
      await person.page.keyboard.press("n");
      await person.page.locator(".flame-sticky canvas").focus();
      await person.page.keyboard.press("Enter");
      await person.param("zoom", /./);
      await person.page.mouse.move(5, 5);
      const name = await person.frameName();
      await expect
        .poll(async () => {
          for (let row = 0; row < 30; row++) if ((await person.hover(row, 0.5)) === name) break;
          return person.page.locator(".tooltip").innerText();
        })
        .toMatch(/\bJIT\b/);
      await entry.press("Enter");
      await person.param("search", null);
    },
  );

  test("is dark on a phone from edge to edge, and the choice of a theme is kept", async () => {
    await person.page.setViewportSize({ width: 390, height: 844 });
    await person.page.emulateMedia({ colorScheme: "dark" });
    const brightness = (selector: string) =>
      person.page
        .locator(selector)
        .first()
        .evaluate((element) =>
          Math.max(...(getComputedStyle(element).backgroundColor.match(/\d+/g) ?? []).map(Number)),
        );
    await expect.poll(() => brightness("body")).toBeLessThan(60);
    expect(await person.page.evaluate(() => getComputedStyle(document.documentElement).colorScheme)).toContain("dark");
    // What the canvas itself has painted: its corner is the root, or what lies behind the graph.
    const corner = () =>
      person.page
        .locator(".flame-sticky canvas")
        .evaluate((canvas) =>
          Math.max(
            ...((canvas as HTMLCanvasElement).getContext("2d")?.getImageData(0, 0, 1, 1).data.slice(0, 3) ?? []),
          ),
        );
    await expect.poll(corner).toBeLessThan(128);
    for (const key of "2345678") {
      await person.page.keyboard.press(key);
      await person.page.waitForSelector(".panel-content canvas, [role=treegrid], .top, .card, .empty h2, .code-part");
      expect(await person.page.evaluate(() => document.documentElement.scrollWidth), key).toBe(390);
      expect(await brightness("body"), key).toBeLessThan(60);
    }
    await person.page.keyboard.press("1");
    await person.graph();
    await person.page.getByRole("button", { name: /^Theme: / }).click();
    await expect.poll(corner).toBeGreaterThan(128);
    // The address follows faster steps than a person's with a delay; what is loaded again is what it says.
    await person.param("tab", null);
    await person.page.reload();
    await person.graph();
    await expect.poll(corner).toBeGreaterThan(128);
  });

  test.each([
    ["light", "flame"],
    ["dark", "flame"],
    ["light", "table"],
    ["dark", "table"],
  ] as const)("has no serious fault of accessibility in the %s theme on the %s tab", async (scheme, tab) => {
    await person.page.emulateMedia({ colorScheme: scheme });
    await person.page.goto(`${person.base}?tab=${tab}&search=a`);
    await person.page.waitForSelector(tab === "table" ? "table.top" : ".flame-sticky canvas");
    await person.page.waitForSelector(".facet-value");
    // A young recording is asked for its last five minutes next; until they come, what is there is dimmed.
    await person.page.waitForFunction(() => document.querySelector(".stale, .panel.old") === null);
    const faults = await seriousFaults(person.page);
    expect(faults).toEqual([]);
  });
});

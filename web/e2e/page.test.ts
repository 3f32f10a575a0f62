/**
 * What a person does with the page, in a real browser. Runs against the mock server, or against a real profiler when
 * PROFILER_URL is set; nothing here depends on the values of the mock.
 */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type Browser, type Misdeeds, openBrowser, openPage } from "./browser";
import { type Mock, startMock } from "./mock-server";

const real = process.env.PROFILER_URL;
let mock: Mock | null = null;
let browser: Browser;
let base: string;
let page: Page;
let misdeeds: Misdeeds;

beforeAll(async () => {
  if (real === undefined) mock = await startMock({ dist: join(import.meta.dirname, "../dist"), nodes: 20_000 });
  base = real === undefined ? (mock?.url ?? "") : real.replace(/\/?$/, "/");
  browser = await openBrowser();
});
afterAll(async () => {
  await browser?.close();
  await mock?.close();
});
beforeEach(async () => {
  ({ page, misdeeds } = await openPage(browser, base));
  await graph();
});
afterEach(async () => {
  await page.close();
  expect(misdeeds.errors, "errors in the console").toEqual([]);
  expect(misdeeds.strangers, "requests to other origins").toEqual([]);
});

/** Waits for the flame graph to be there and painted. */
async function graph(): Promise<void> {
  await page.waitForSelector(".flame canvas");
  await page.waitForFunction(() => performance.getEntriesByName("draw").length > 0);
}

const details = () => page.locator(".details").innerText();
const params = () => new URL(page.url()).searchParams;
/** Moves over a row of the graph and returns the name of the frame there. */
async function hover(row: number, share = 0.02): Promise<string> {
  const box = await page.locator(".flame canvas").boundingBox();
  if (box === null) throw new Error("no canvas");
  await page.mouse.move(box.x + box.width * share, box.y + row * 18 + 9);
  return page.locator(".details .name").innerText();
}
async function click(row: number, share = 0.02): Promise<void> {
  await hover(row, share);
  await page.mouse.down();
  await page.mouse.up();
}
async function brush(from: number, to: number): Promise<void> {
  const box = await page.locator(".chart .u-over").boundingBox();
  if (box === null) throw new Error("no chart");
  const y = box.y + box.height / 2;
  await page.mouse.move(box.x + box.width * from, y);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * ((from + to) / 2), y, { steps: 3 });
  await page.mouse.move(box.x + box.width * to, y, { steps: 3 });
  await page.mouse.up();
}
/** Runs `act` and waits for a flame graph with that kind of question; what is asked meanwhile for live's sake is not it. */
async function answerTo(act: () => Promise<unknown>, parameter: string, value: RegExp): Promise<URL> {
  const fits = (address: string) => value.test(new URL(address).searchParams.get(parameter) ?? "");
  const [response] = await Promise.all([
    page.waitForResponse((r) => r.url().includes("api/v1/flamegraph") && r.status() === 200 && fits(r.url())),
    act(),
  ]);
  return new URL(response.url());
}

describe("the page", () => {
  test("opens with host, timeline, processes and a flame graph, and follows the present", async () => {
    await expect.poll(() => page.locator(".host strong").innerText()).not.toBe("");
    await expect.poll(() => page.locator(".chart canvas").count()).toBe(1);
    await expect.poll(() => page.locator(".facet-row").count()).toBeGreaterThan(0);
    expect(await page.getByRole("switch", { name: "Live" }).getAttribute("aria-checked")).toBe("true");
    expect(await page.locator(".quality").innerText()).toMatch(/[\d,]+ samples in view/);
    expect(await page.title()).toMatch(/profiler$/);
  });

  test("asks everything of its own origin, relative to where it is served", async () => {
    const asked = await page.evaluate(() => performance.getEntriesByType("resource").map((entry) => entry.name));
    expect(asked.length).toBeGreaterThan(4);
    for (const address of asked) expect(address.startsWith(base), address).toBe(true);
  });

  test("says everything about the frame under the pointer at once", async () => {
    expect(await hover(0)).toBe("all");
    const name = await hover(1);
    expect(name).not.toBe("all");
    expect(await details()).toMatch(/total .*%.* samples.*self/s);
    expect(await page.locator(".tooltip .name").innerText()).toBe(name);
  });

  test("zooms into a frame on a click, and Back, Escape and 0 zoom out", async () => {
    const name = await hover(1);
    await click(1);
    await expect.poll(() => params().get("zoom")).toMatch(/^1-/);
    expect(await hover(1, 0.98)).toBe(name);
    await click(2);
    await expect.poll(() => params().get("zoom")).toMatch(/^2-/);
    await page.goBack();
    await expect.poll(() => params().get("zoom")).toMatch(/^1-/);
    await page.keyboard.press("Escape");
    await expect.poll(() => params().get("zoom")).toBeNull();
    await click(2);
    await expect.poll(() => params().get("zoom")).toMatch(/^2-/);
    await page.keyboard.press("0");
    await expect.poll(() => params().get("zoom")).toBeNull();
  });

  test("finds a frame by its name and says its exact share", async () => {
    const name = await hover(1);
    const share = /total ([\d.]+ %)/.exec(await details())?.[1];
    await page.keyboard.press("/");
    await page.keyboard.type(`"${name}"`);
    // Recorded for real, a function may have the name of a process, and the numbers move on.
    await expect.poll(() => page.locator(".found").innerText()).toContain(real === undefined ? share : "%");
    await page.keyboard.press("Enter");
    await expect.poll(() => page.locator(".found").innerText()).toMatch(/1 of \d/);
    await page.mouse.move(5, 5);
    expect(await page.locator(".details .name").innerText()).toBe(name);
    await page.keyboard.press("Escape");
    expect(await page.inputValue("#search")).toBe("");
  });

  test("takes every letter of a search that begins with Ctrl+F, and no shortcut with it", async () => {
    await page.keyboard.press("Control+f");
    await page.keyboard.type("tiln0i?");
    expect(await page.inputValue("#search")).toBe("tiln0i?");
    await expect.poll(() => params().get("search")).toBe("tiln0i?");
    expect(params().get("root")).toBeNull();
    expect(params().get("live")).toBeNull();
  });

  test("marks a regular expression that is not one instead of failing", async () => {
    await page.fill("#search", "/(/");
    expect(await page.locator("#search").getAttribute("aria-invalid")).toBe("true");
    await page.fill("#search", "/./");
    await expect.poll(() => page.locator(".found").innerText()).toMatch(/100 %|99\.9 %/);
  });

  test("walks the graph with the arrow keys and says where it is", async () => {
    await page.locator(".flame canvas").focus();
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowDown");
    const said = await page.locator("[aria-live=polite]").innerText();
    expect(said).toMatch(/%/);
    await page.keyboard.press("Enter");
    await expect.poll(() => params().get("zoom")).toMatch(/^2-/);
    await page.keyboard.press("Backspace");
    await expect.poll(() => params().get("zoom")).toMatch(/^1-/);
  });

  test("shows the flame graph of what is brushed on the timeline", async () => {
    const asked = await answerTo(() => brush(0.55, 1), "from", /^\d+$/);
    const [from, to] = (params().get("brush") ?? "").split("-").map(Number);
    expect(to).toBeGreaterThan(from);
    expect([asked.searchParams.get("from"), asked.searchParams.get("to")]).toEqual([String(from), String(to)]);
    expect(await page.locator(".brush").isVisible()).toBe(true);
    await page.locator(".selection").getByRole("button", { name: "Reset" }).click();
    await expect.poll(() => params().get("brush")).toBeNull();
    await answerTo(() => brush(0.5, 1), "from", /^\d+$/);
    await page.locator(".chart .u-over").dblclick();
    await expect.poll(() => params().get("brush")).toBeNull();
  });

  test("keeps a drag on the timeline alive while new data comes in", async () => {
    const box = await page.locator(".chart .u-over").boundingBox();
    if (box === null) throw new Error("no chart");
    const y = box.y + 30;
    await page.mouse.move(box.x + box.width * 0.4, y);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.7, y, { steps: 4 });
    const width = () => page.locator(".brush").evaluate((element) => element.getBoundingClientRect().width);
    const before = await width();
    await page.waitForResponse((response) => response.url().includes("api/v1/timeline"), { timeout: 12_000 });
    await page.waitForTimeout(100);
    expect(await width()).toBe(before);
    await page.mouse.move(box.x + box.width, y, { steps: 4 });
    await page.mouse.up();
    await expect.poll(() => params().get("brush")).toMatch(/^\d+-\d+$/);
  });

  test("filters by a process on a click and lets go on another", async () => {
    const process = page.locator(".facet-row").first();
    const name = await process.locator(".name").innerText();
    const asked = await answerTo(() => process.click(), "filter", /comm=/);
    expect(asked.searchParams.get("filter")).toContain(`comm="${name}"`);
    await expect.poll(() => page.locator(".facet-row[aria-pressed=true] .name").innerText()).toBe(name);
    await graph();
    expect(await hover(1, 0.5)).toBe(name);
    // The other processes are still there to be chosen.
    expect(await page.locator(".facet-row").count()).toBeGreaterThan(0);
    await page.locator(".facet-row[aria-pressed=true]").click();
    await expect.poll(() => params().get("filter")).toBeNull();
  });

  test("shows the server's objection to a filter below it, and forgets it with the filter", async () => {
    // The browser itself logs the 400.
    misdeeds.errors.length = 0;
    const filter = page.getByRole("textbox", { name: "Filter by labels" });
    await filter.fill('{comm=="x"}');
    await filter.press("Enter");
    await page.waitForSelector("#filter-problem");
    expect((await page.locator("#filter-problem").innerText()).length).toBeGreaterThan(20);
    await page.getByRole("button", { name: "Remove the filter" }).first().click();
    await expect.poll(() => page.locator("#filter-problem").count()).toBe(0);
    await graph();
    misdeeds.errors = misdeeds.errors.filter((error) => !error.includes("400"));
  });

  test("says that a filter leaves nothing, and offers to remove it", async () => {
    const filter = page.getByRole("textbox", { name: "Filter by labels" });
    await filter.fill('{comm="no process has this name"}');
    await filter.press("Enter");
    await expect.poll(() => page.locator(".empty h2").innerText()).toBe("No sample passes the filter");
    await page.locator(".empty").getByRole("button", { name: "Remove the filter" }).click();
    await graph();
    expect(params().get("filter")).toBeNull();
  });

  test("says that a range lies before the oldest data, and leads to it", async () => {
    await page.goto(`${base}?from=1000000000000&to=1000003600000`);
    await expect.poll(() => page.locator(".empty h2").innerText()).toBe("Nothing was kept from that time");
    await page.getByRole("button", { name: "Show the last hour" }).click();
    await graph();
  });

  test("downloads what is shown as folded stacks", async () => {
    await page.locator(".icon-menu summary").click();
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("link", { name: /Folded stacks/ }).click(),
    ]);
    expect(download.suggestedFilename()).toMatch(/\.folded$/);
    const text = readFileSync(await download.path(), "utf8");
    const lines = text.trimEnd().split("\n");
    expect(lines.length).toBeGreaterThan(0);
    for (const line of lines.slice(0, 100)) expect(line).toMatch(/^.+ \d+$/);
  });

  test("lists the functions in a table that sorts, filters and leads back to the graph", async () => {
    await page.getByRole("tab", { name: "Table" }).click();
    await page.waitForSelector("table.top tbody .function");
    await page.getByRole("button", { name: "Total" }).click();
    await expect.poll(() => params().get("sort")).toBe("-total");
    const totals = await page.locator("table.top tbody td:nth-child(2) .share").allInnerTexts();
    const numbers = totals.map((text) => Number.parseFloat(text));
    expect([...numbers].sort((a, b) => b - a)).toEqual(numbers);
    const function_ = page.locator("table.top tbody .function .link").first();
    const name = await function_.innerText();
    await function_.click();
    await graph();
    expect(await page.inputValue("#search")).toBe(`"${name}"`);
    const total = totals[0].split(" ")[0];
    await expect.poll(() => page.locator(".found").innerText()).toContain(real === undefined ? total : "%");
  });

  test("comes back as it was after a reload", async () => {
    await answerTo(() => brush(0.4, 1), "from", /^\d+$/);
    const brushed = await page.locator(".brush").boundingBox();
    const name = await hover(1);
    await click(1);
    await expect.poll(() => params().get("zoom")).toMatch(/^1-/);
    await page.fill("#search", name);
    await page.keyboard.press("Escape");
    await page.fill("#search", name.slice(0, 3));
    await page.locator(".flame canvas").focus();
    await page.keyboard.press("i");
    await expect.poll(() => params().get("root")).toBe("below");
    await expect.poll(() => params().get("search")).toBe(name.slice(0, 3));
    const before = page.url();
    const found = await page.locator(".found p").innerText();
    await page.reload();
    await graph();
    expect(page.url()).toBe(before);
    expect(await page.inputValue("#search")).toBe(name.slice(0, 3));
    expect(await page.locator(".found p").innerText()).toContain(real === undefined ? found : "%");
    const place = await page.locator(".brush").boundingBox();
    // The axis may have moved on by a few seconds.
    expect(Math.abs((place?.x ?? 0) - (brushed?.x ?? 0))).toBeLessThan(20);
    expect(Math.abs((place?.width ?? 0) - (brushed?.width ?? 0))).toBeLessThan(20);
    await page.mouse.move(5, 5);
    expect(await page.locator(".details .name").innerText()).toBe(name);
  });

  test("turns upside down, with the root at the bottom", async () => {
    await page.keyboard.press("i");
    await expect.poll(() => params().get("root")).toBe("below");
    const box = await page.locator(".flame canvas").boundingBox();
    if (box === null) throw new Error("no canvas");
    await page.mouse.move(box.x + 40, box.y + box.height - 9);
    expect(await page.locator(".details .name").innerText()).toBe("all");
  });

  test("is dark or light as the system is, until someone chooses", async () => {
    const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
    await page.emulateMedia({ colorScheme: "dark" });
    await expect.poll(theme).toBe("dark");
    await page.emulateMedia({ colorScheme: "light" });
    await expect.poll(theme).toBe("light");
    await page.keyboard.press("t");
    await page.keyboard.press("t");
    await expect.poll(theme).toBe("dark");
    await page.reload();
    await expect.poll(theme).toBe("dark");
    await page.keyboard.press("t");
    await expect.poll(theme).toBe("light");
  });

  test("fits a phone without scrolling sideways", async () => {
    await page.setViewportSize({ width: 390, height: 844 });
    await page.waitForTimeout(200);
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(390);
    expect((await page.locator(".flame canvas").boundingBox())?.width).toBe(390);
    for (const menu of await page.locator(".menu summary").all()) {
      await menu.click();
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBe(390);
      await page.keyboard.press("Escape");
      expect(await page.locator(".menu[open]").count()).toBe(0);
    }
  });

  test.each([
    ["light", "flame"],
    ["dark", "flame"],
    ["light", "table"],
    ["dark", "table"],
  ] as const)("has no serious fault of accessibility in the %s theme on the %s tab", async (scheme, tab) => {
    await page.emulateMedia({ colorScheme: scheme });
    await page.goto(`${base}?tab=${tab}&search=a`);
    await page.waitForSelector(tab === "table" ? "table.top" : ".flame canvas");
    await page.waitForSelector(".facet-row");
    // Evaluated by the debugger, not injected as a script, so that the page's policy stays as it is.
    await page.evaluate(readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8"));
    const faults = await page.evaluate(async () => {
      const { axe } = window as unknown as { axe: { run(): Promise<{ violations: Violation[] }> } };
      interface Violation {
        id: string;
        impact: string;
        nodes: { html: string; failureSummary: string }[];
      }
      const { violations } = await axe.run();
      return violations
        .filter((v) => v.impact === "serious" || v.impact === "critical")
        .map((v) => `${v.id}: ${v.nodes[0].html} ${v.nodes[0].failureSummary}`);
    });
    expect(faults).toEqual([]);
  });
});

describe.runIf(real === undefined)("the page and a server with troubles", () => {
  test("waits for the first window and shows it when it is there", async () => {
    if (mock === null) return;
    mock.state.waiting = true;
    await page.goto(base);
    await expect.poll(() => page.locator(".empty h2").innerText()).toBe("Recording the first samples");
    mock.state.waiting = false;
    await graph();
  });

  test("says that the server is gone, keeps what it shows, and reconnects by itself", async () => {
    if (mock === null) return;
    mock.state.gone = true;
    await expect.poll(() => page.locator(".notice.bad").innerText(), { timeout: 10_000 }).toContain("does not answer");
    expect(await page.locator(".flame canvas").count()).toBe(1);
    mock.state.gone = false;
    await expect.poll(() => page.locator(".notice.bad").count(), { timeout: 10_000 }).toBe(0);
    misdeeds.errors = misdeeds.errors.filter((error) => !error.includes("ERR_"));
  });
});

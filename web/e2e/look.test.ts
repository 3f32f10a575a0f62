/** Takes pictures of every view into `e2e/shots` for a person to look at; runs only when SHOTS is set. */

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { expect, test } from "vitest";
import { openBrowser, openPage } from "./browser";
import { startMock } from "./mock-server";

const shots = join(import.meta.dirname, "shots");
/** `SHOTS=wide-light,narrow-dark` takes only those, `SHOTS=1` all. */
const wanted = process.env.SHOTS ?? "";

/** Name, query, and what is done before the picture. */
const VIEWS: readonly [string, string, ((page: Page, width: number) => Promise<void>)?][] = [
  ["flame", ""],
  [
    "zoomed",
    "?search=hash&color=package",
    async (page, width) => {
      await page.locator(".flame-sticky canvas").click({ position: { x: width / 4, y: 60 } });
      await page.mouse.move(width / 2, 500);
    },
  ],
  ["binary", "?color=binary&tidy=recursion,plumbing&root=below"],
  ["tree", "?tab=tree&search=hash"],
  ["table", "?tab=table", (page) => page.locator("table.top .function .link").nth(3).click()],
  [
    "sandwich",
    "?tab=table",
    async (page) => {
      await page.locator("table.top .function .link").nth(3).click();
      await page.keyboard.press("4");
      await page.waitForSelector(".sandwich");
    },
  ],
  ["diff", "?tab=diff"],
  ["heatmap", "?tab=heatmap&from=now-24h"],
  [
    "source",
    "?tab=table",
    async (page) => {
      await page.locator("table.top .function .link").nth(3).click();
      await page.keyboard.press("7");
      await page.waitForSelector(".code [data-row]");
    },
  ],
  ["quality", "?tab=quality"],
  [
    "stacked",
    "?by=comm&from=now-6h",
    async (page) => {
      const chart = await page.locator(".chart .u-over").boundingBox();
      if (chart !== null) await page.mouse.move(chart.x + chart.width * 0.25, chart.y + chart.height / 2);
    },
  ],
  ["found", "?search=read&live=0"],
  ["brushed", `?from=now-24h&brush=${Date.now() - 30_000_000}-${Date.now() - 10_000_000}`],
  ["empty", `?filter=${encodeURIComponent('{pid="1"}')}`],
  ["refused", "?filter=comm"],
  ["facets", `?facets=comm,unit&filter=${encodeURIComponent('{comm!="node"}')}`],
  ["tidy", "?tidy=plumbing&hide=hash", (page) => page.locator(".tidy summary").click()],
  ["download", "", (page) => page.locator("summary[aria-label=Download]").click()],
  ["views", "?tab=table", (page) => page.locator(".views summary").click()],
  ["range", "", (page) => page.locator(".custom summary").click()],
  ["help", "", (page) => page.getByRole("button", { name: "Keyboard shortcuts" }).click()],
  [
    "menu",
    "",
    (page, width) =>
      page.locator(".flame-sticky canvas").click({ button: "right", position: { x: width / 4, y: 100 } }),
  ],
];

test.runIf(wanted !== "")("pictures are taken in both themes and sizes", { timeout: 300_000 }, async () => {
  mkdirSync(shots, { recursive: true });
  const mock = await startMock({ dist: join(import.meta.dirname, "../dist"), nodes: 30_000 });
  const browser = await openBrowser();
  try {
    const { page, misdeeds } = await openPage(browser, mock.url);
    for (const [size, width, height] of [
      ["wide", 1440, 900],
      ["large", 1920, 1080],
      ["small", 1024, 700],
      ["narrow", 390, 844],
    ] as const) {
      for (const scheme of ["light", "dark"] as const) {
        const set = `${size}-${scheme}`;
        if (wanted !== "1" && !wanted.split(",").includes(set)) continue;
        await page.setViewportSize({ width, height });
        await page.emulateMedia({ colorScheme: scheme });
        for (const [name, query, prepare] of VIEWS) {
          if (process.env.VIEWS !== undefined && !process.env.VIEWS.split(",").includes(name)) continue;
          await page.goto(`${mock.url}${query}`);
          await page.waitForSelector(".panel-content canvas, table, .empty h2, .card");
          await page.waitForTimeout(500);
          // Beside the labels.
          await prepare?.(page, size === "narrow" ? width : width - 224);
          await page.waitForTimeout(300);
          await page.screenshot({ path: join(shots, `${set}-${name}.png`), fullPage: size === "narrow" });
        }
      }
    }
    expect(misdeeds.strangers).toEqual([]);
  } finally {
    await browser.close();
    await mock.close();
  }
});

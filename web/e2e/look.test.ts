/** Takes pictures into `e2e/shots` for a person to look at; runs only when SHOTS is set. */

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openBrowser, openPage } from "./browser";
import { startMock } from "./mock-server";

const shots = join(import.meta.dirname, "shots");

test.runIf(process.env.SHOTS !== undefined)(
  "pictures are taken in both themes and sizes",
  { timeout: 120_000 },
  async () => {
    mkdirSync(shots, { recursive: true });
    const mock = await startMock({ dist: join(import.meta.dirname, "../dist"), nodes: 30_000 });
    const browser = await openBrowser();
    try {
      const { page, misdeeds } = await openPage(browser, mock.url);
      for (const [name, width, height] of [
        ["wide", 1440, 900],
        ["narrow", 390, 844],
      ] as const) {
        for (const scheme of ["light", "dark"] as const) {
          await page.setViewportSize({ width, height });
          await page.emulateMedia({ colorScheme: scheme });
          await page.goto(mock.url);
          await page.waitForSelector(".flame canvas");
          await page.waitForTimeout(400);
          const shot = (what: string) =>
            page.screenshot({ path: join(shots, `${name}-${scheme}-${what}.png`), fullPage: name === "narrow" });
          await shot("open");
          await page.fill("#search", "hash");
          await page.locator(".flame canvas").click({ position: { x: width / 3, y: 60 } });
          await page.mouse.move(width / 2, 500);
          await page.waitForTimeout(200);
          await shot("zoomed");
          await page.goto(`${mock.url}?tab=table`);
          await page.waitForSelector("table.top");
          await shot("table");
          await page.goto(`${mock.url}?filter=${encodeURIComponent('{pid="1"}')}`);
          await page.waitForSelector(".empty h2");
          await shot("empty");
          await page.goto(`${mock.url}?filter=comm`);
          await page.waitForSelector(".filter-problem");
          await shot("refused");
          await page.goto(
            `${mock.url}?root=below&from=now-24h&brush=${Date.now() - 30_000_000}-${Date.now() - 10_000_000}`,
          );
          await page.waitForSelector(".flame canvas");
          await page.locator(".losses summary").click();
          await page.waitForTimeout(300);
          await shot("brushed");
          await page.keyboard.press("Escape");
          await page.locator(".custom summary").click();
          await shot("range");
          await page.keyboard.press("Escape");
          await page.locator(".icon-menu summary").click();
          await shot("download");
          await page.keyboard.press("Escape");
          await page.getByRole("button", { name: "Keyboard shortcuts" }).click();
          await shot("help");
        }
      }
      expect(misdeeds.strangers).toEqual([]);
    } finally {
      await browser.close();
      await mock.close();
    }
  },
);

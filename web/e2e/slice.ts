/** A slice as one page: it opens from a file, asks for nothing, and shows what was recorded. */

import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Browser, openBrowser, openPage } from "./browser";

const slice = process.env.SLICE;
if (slice === undefined) throw new Error("SLICE names a page that `profiler export` wrote");

let browser: Browser;
beforeAll(async () => {
  browser = await openBrowser();
});
afterAll(() => browser.close());

test("a slice opens from a file, without a request, and can be searched, zoomed and read by keyboard", async () => {
  const url = pathToFileURL(slice).href;
  const { page, misdeeds } = await openPage(browser, url);
  const asked: string[] = [];
  page.on("request", (request) => asked.push(request.url()));
  await page.reload();
  // Of which host is known while that has not been started anew.
  expect(await page.title()).toMatch(/^CPU flame graph( of \S+)?$/);
  expect(await page.locator("#about").textContent()).toMatch(
    /^\d{4}-\d\d-\d\d [\d:]+ to .* UTC, everything, \d+ samples\.$/,
  );

  // Something is drawn: the root's row is not the colour of what is behind it.
  const drawn = await page.locator("canvas").evaluate((canvas) => {
    const context = (canvas as HTMLCanvasElement).getContext("2d");
    return context?.getImageData(5, 5, 1, 1).data[3];
  });
  expect(drawn).toBe(255);

  // From the root down to the heaviest process and function, in there and back.
  const frame = page.locator("#frame");
  await page.locator("#graph").focus();
  await page.keyboard.press("ArrowDown");
  await expect.poll(() => frame.textContent()).toMatch(/samples \(\d+\.\d\d %\)/);
  const process = await frame.textContent();
  await page.keyboard.press("Enter");
  expect(await page.locator("#out").isEnabled()).toBe(true);
  await page.keyboard.press("ArrowDown");
  expect(await frame.textContent()).not.toBe(process);
  await page.keyboard.press("Escape");
  expect(await page.locator("#out").isEnabled()).toBe(false);

  await page.locator("#search").fill((process ?? "").split(":")[0]);
  await expect.poll(() => page.locator("#found").textContent()).toMatch(/samples/);
  expect(asked).toEqual([url]);
  expect(misdeeds).toEqual({ errors: [], strangers: [] });
});

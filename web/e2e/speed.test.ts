/**
 * How fast the page is with a large profile: 100,000 nodes, software rendering. The limits are those of a shared machine
 * with two processors, about three times what a quiet one takes; the figures are printed.
 */

import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Browser, openBrowser, openPage } from "./browser";
import { type Mock, startMock } from "./mock-server";

const NODES = Number(process.env.NODES ?? 100_000);
const ROUNDS = 5;
let mock: Mock;
let browser: Browser;

beforeAll(async () => {
  mock = await startMock({ dist: join(import.meta.dirname, "../dist"), nodes: NODES });
  browser = await openBrowser();
});
afterAll(async () => {
  await browser?.close();
  await mock?.close();
});

test(`a profile of ${NODES} nodes is drawn, zoomed and searched without a wait`, { timeout: 60_000 }, async () => {
  const { page } = await openPage(browser, `${mock.url}?live=0`);
  await page.waitForFunction(() => performance.getEntriesByName("draw").length > 0, undefined, { timeout: 30_000 });
  const measured = await page.evaluate(async (rounds) => {
    const painted = (): Promise<void> =>
      new Promise((resolve) => requestAnimationFrame(() => setTimeout(() => resolve(), 0)));
    const fastest = async (prepare: () => void, act: (round: number) => void): Promise<number> => {
      let best = Number.POSITIVE_INFINITY;
      for (let round = 0; round < rounds; round++) {
        prepare();
        await painted();
        const start = performance.now();
        act(round);
        await painted();
        best = Math.min(best, performance.now() - start);
      }
      return best;
    };
    const canvas = document.querySelector<HTMLCanvasElement>(".flame-sticky canvas");
    const search = document.querySelector<HTMLInputElement>("#search");
    if (canvas === null || search === null) throw new Error("the page is not there");
    const { left, top, width } = canvas.getBoundingClientRect();
    const at = (row: number, share: number) => ({
      bubbles: true,
      clientX: left + width * share,
      clientY: top + row * 18 + 9,
    });
    const zoomIn = () => canvas.dispatchEvent(new MouseEvent("click", at(2, 0.1)));
    const zoomOut = () => window.dispatchEvent(new KeyboardEvent("keydown", { key: "0" }));
    const type = (text: string): void => {
      search.value = text;
      search.dispatchEvent(new InputEvent("input", { bubbles: true }));
    };
    // From the parsed answer to the first drawing handed to the browser; "zoom out" includes painting the whole.
    const duration = (name: string): number => performance.getEntriesByName(name)[0]?.duration ?? Number.NaN;
    const decode = performance.getEntriesByName("decode")[0];
    const draw = performance.getEntriesByName("draw")[0];
    return {
      decode: duration("decode"),
      "first drawing": draw.startTime + draw.duration - decode.startTime,
      "draw alone": Math.min(...performance.getEntriesByName("draw").map((entry) => entry.duration)),
      zoom: await fastest(zoomOut, zoomIn),
      "zoom out": await fastest(zoomIn, zoomOut),
      "search text": await fastest(
        () => type(""),
        () => type("hash"),
      ),
      "search regex": await fastest(
        () => type(""),
        () => type("/_(1|2)\\d*$/"),
      ),
      hover: await fastest(
        () => canvas.dispatchEvent(new PointerEvent("pointerleave")),
        (round) =>
          canvas.dispatchEvent(new PointerEvent("pointermove", { ...at(4, 0.1 + round / 10), pointerType: "mouse" })),
      ),
    };
  }, ROUNDS);
  const nodes = NODES.toLocaleString("en");
  for (const [what, ms] of Object.entries(measured)) console.log(`${nodes} nodes, ${what}: ${ms.toFixed(1)} ms`);
  const scale = Math.max(1, NODES / 500_000);
  expect(measured["first drawing"]).toBeLessThan(250 * scale);
  expect(measured.zoom).toBeLessThan(50 * scale);
  expect(measured["zoom out"]).toBeLessThan(50 * scale);
  expect(measured["search text"]).toBeLessThan(100 * scale);
  expect(measured["search regex"]).toBeLessThan(100 * scale);
  expect(measured.hover).toBeLessThan(50 * scale);
});

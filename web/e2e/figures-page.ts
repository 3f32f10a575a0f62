/**
 * The figures that a person reads on the page, in Chromium, against the samples of random histories: footer, legend, table, quality,
 * labels, difference, a box of the heat map, and the file of what is shown. `figures.ts` has the same without a browser, for more.
 */

import { readFileSync } from "node:fs";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FrameKind } from "../src/model/call-tree";
import { formatCount, formatSamples, formatShare } from "../src/model/units";
import { type Browser, openBrowser, openPage } from "./browser";
import { count, frameKey, functionSums, isCut, type Sample, type Served, serve, sums } from "./drawn";

const SEEDS = (process.env.SEEDS ?? "1 2 3").split(" ").map(Number);

let browser: Browser;
beforeAll(async () => {
  browser = await openBrowser();
});
afterAll(() => browser.close());

describe.each(SEEDS)("the page of the random history of seed %i", (seed) => {
  let served: Served;
  let page: Page;
  /** All but the first two windows and the last. */
  let from = 0;
  let to = 0;
  let samples: Sample[];

  beforeAll(async () => {
    served = await serve(seed);
    const { windows } = served.drawn;
    [from, to] = [windows[2].from, windows[windows.length - 1].from];
    samples = served.drawn.samples.filter(({ window }) => window >= from && window < to);
    ({ page } = await openPage(browser, served.url));
  });
  afterAll(async () => {
    await page.close();
    served.end();
  });

  const open = async (query: string): Promise<void> => {
    await page.goto(`${served.url}/?from=${from}&to=${to}&${query}`);
  };
  const text = (selector: string) => page.locator(selector).first().innerText();

  test("footer and legend", async () => {
    await open("facets=comm,pid,unit");
    const all = count(samples);
    await expect.poll(() => text("footer.quality")).toContain(`${formatCount(all)} samples in view`);
    expect(await text("footer.quality")).toContain(formatShare(all - count(samples.filter(isCut)), all));
    const kinds = sums(samples, ({ frames }) => String(frames.at(-1)?.kind ?? FrameKind.Process));
    for (const [label, kind] of [
      ["native", FrameKind.User],
      ["kernel", FrameKind.Kernel],
      ["inlined", FrameKind.Inlined],
      ["no symbol", FrameKind.Unknown],
    ] as const) {
      const entry = page.locator(".legend li", { hasText: label });
      const wanted = kinds[kind] ?? 0;
      if (wanted > 0) expect(await entry.innerText()).toContain(formatShare(wanted, all));
      else expect(await entry.count()).toBe(0);
    }
    for (const [label, of] of [
      ["comm", ({ comm }: Sample) => comm],
      ["pid", ({ pid }: Sample) => pid],
      ["unit", ({ unit }: Sample) => unit ?? ""],
    ] as const) {
      const truth = Object.values(sums(samples, of)).sort((a, b) => b - a);
      const facet = page.locator(`.facet[data-label=${label}]`);
      await expect.poll(() => facet.locator(".facet-value").count()).toBe(truth.length);
      expect(await facet.locator("h2").innerText()).toContain(String(truth.length));
      expect(await facet.locator(".share").allInnerTexts()).toEqual(truth.map((n) => formatShare(n, all)));
    }
  });

  /** The titles of a table's rows say their samples. */
  const tableRows = (): Promise<{ name: string; self: string; total: string }[]> =>
    page.locator("table.top tbody tr:not(.space)").evaluateAll((rows) =>
      rows.map((row) => ({
        name: row.querySelector(".function .link")?.getAttribute("title") ?? "",
        self: row.querySelectorAll("td.number")[0]?.getAttribute("title") ?? "",
        total: row.querySelectorAll("td.number")[1]?.getAttribute("title") ?? "",
      })),
    );
  const truthOf = (of: Sample[], fits: (key: string) => boolean) => {
    const keys = [...new Set(of.flatMap(({ frames }) => frames.map(frameKey)))].filter(fits);
    return keys.map((key) => {
      const { self, total } = functionSums(of, key);
      return { name: key.split(" ")[1], self: formatSamples(self), total: formatSamples(total) };
    });
  };
  const sorted = <T>(rows: T[]): T[] => [...rows].sort((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));

  test("table, searched", async () => {
    await open(`tab=table&search=${encodeURIComponent("binary:libx")}`);
    const wanted = truthOf(samples, (key) => key.includes(" /usr/lib/libx"));
    await expect.poll(async () => sorted(await tableRows())).toEqual(sorted(wanted));
    expect(await text(".table-part .details")).toContain(`${wanted.length} of `);
  });

  test("quality", async () => {
    await open("tab=quality");
    const all = count(samples);
    const unnamed = samples.filter(({ frames }) => frames.at(-1)?.kind === FrameKind.Unknown);
    await expect.poll(() => text(".card h2")).toContain(formatShare(all - count(samples.filter(isCut)), all));
    const cards = page.locator(".card");
    expect(await cards.nth(1).locator("h2").innerText()).toContain(formatShare(all - count(unnamed), all));
    const rows = (card: number) => cards.nth(card).locator("tbody td.number .quiet").allInnerTexts();
    const values = (found: Record<string, number>) =>
      Object.values(found)
        .sort((a, b) => b - a)
        .map(formatCount);
    expect(await rows(1)).toEqual(
      values(sums(unnamed, ({ frames }) => `${frames.at(-1)?.reason} ${frames.at(-1)?.binary}`)),
    );
    const file = ({ frames: [first] }: Sample) =>
      first === undefined || first.kind === FrameKind.Kernel ? null : first.binary;
    expect(await rows(0)).toEqual(values(sums(samples.filter(isCut), (one) => `${one.end} ${one.comm} ${file(one)}`)));
  });

  test("absolute difference", async () => {
    const { windows } = served.drawn;
    const base = { from: windows[0].from, to: windows[2].from };
    await open(`tab=diff&diff=absolute&base=${base.from}-${base.to}`);
    const before = served.drawn.samples.filter(({ window }) => window >= base.from && window < base.to);
    const recorded = (start: number, end: number) =>
      windows.filter((one) => one.from >= start && one.from < end).reduce((sum, one) => sum + one.to - one.from, 0);
    const cores = (of: Sample[], ms: number) => (count(of) * 10) / ms;
    const change = cores(samples, recorded(from, to)) - cores(before, recorded(base.from, base.to));
    const shown = async () => /([+−±][\d.]+) cores/.exec(await text("[data-testid=details]"))?.[1] ?? "";
    const number = async () => Number((await shown()).replace("−", "-").replace(/[+±]/, ""));
    await expect.poll(number).toBeCloseTo(change, 1);
    expect(await text(".sides")).toContain(formatSamples(count(before)));
    expect(await text(".sides")).toContain(formatSamples(count(samples)));
    // The gap of 25 s is a part of the later side alone.
    await expect.poll(() => page.locator(".in-part").count()).toBe(1);
  });

  test("box of the heat map, with its table and its file", async () => {
    const [columns, rows] = [12, 10];
    const cell = (to - from) / (columns * rows);
    const inside = (ms: number) => {
      const at = Math.floor((ms - from) / cell);
      const [column, row] = [Math.floor(at / rows), at % rows];
      return ms >= from && ms < to && column >= 2 && column <= 8 && row >= 1 && row <= 6;
    };
    const boxed = served.drawn.samples
      .map((sample) => ({ ...sample, times: sample.times.filter(inside) }))
      .filter(({ times }) => times.length > 0);
    const box = `box=${columns}x${rows}:2-8:1-6`;
    await open(`tab=table&${box}&search=${encodeURIComponent("kind:kernel")}`);
    await expect
      .poll(async () => sorted(await tableRows()))
      .toEqual(sorted(truthOf(boxed, (key) => key.startsWith("3 "))));
    await expect.poll(() => text("footer.quality")).toContain(`${formatCount(count(boxed))} samples in view`);
    await open(`${box}&hide=${encodeURIComponent("kind:kernel")}`);
    await expect.poll(() => text("footer.quality")).toContain(`${formatCount(count(boxed))} samples in view`);
    await page.locator("summary[aria-label=Download]").click();
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("button", { name: /^Folded stacks/ }).click(),
    ]);
    const lines = readFileSync((await download.path()) ?? "", "utf8")
      .trim()
      .split("\n");
    const sum = lines.reduce((all, line) => all + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
    expect(sum).toBe(count(boxed));
    expect(lines.some((line) => /;k\d/.test(line))).toBe(false);
  });
});

/** Takes the README's four pictures of a real profiler; runs only when PICTURES names the folder (`make screenshots`). */

import { join } from "node:path";
import { expect, test } from "vitest";
import { openBrowser, openPage } from "./browser";

const folder = process.env.PICTURES ?? "";
const address = (process.env.PROFILER_URL ?? "").replace(/\/?$/, "/");
/** The demo alone, whatever else the host does. */
const DEMO = '{comm=~"node|xz|cc1|ratio|syscalls"}';
const SIZE = { width: 1200, height: 680 };

test.runIf(folder !== "")("four pictures are taken", { timeout: 120_000 }, async () => {
  const browser = await openBrowser();
  try {
    const { page, misdeeds } = await openPage(browser, address);
    await page.setViewportSize(SIZE);
    const status = (await page.evaluate(async () => (await fetch("api/v1/status")).json())) as {
      database: { oldest_ms: number; newest_ms: number };
    };
    const { oldest_ms: from, newest_ms: to } = status.database;
    const middle = Math.round((from + to) / 2);
    const take = async (name: string, scheme: "light" | "dark", query: string, ready: string): Promise<void> => {
      await page.emulateMedia({ colorScheme: scheme });
      await page.goto(`${address}?${query}`);
      await page.waitForSelector(ready, { timeout: 20_000 });
      await page.waitForTimeout(1_500);
      await page.screenshot({ path: join(folder, `${name}.png`) });
    };
    const filter = `filter=${encodeURIComponent(DEMO)}&facets=&names=simple`;
    const span = `from=${from}&to=${to}&filter=${encodeURIComponent(DEMO)}`;
    const whole = `from=${from}&to=${to}&${filter}`;
    await take("flame", "light", `${whole}&by=comm&tidy=plumbing`, ".flame-sticky canvas");
    await take("diff", "dark", `${whole}&brush=${middle}-${to}&base=${from}-${middle}&tab=diff`, ".changes");
    await take("heatmap", "light", `${whole}&tab=heatmap&color=binary`, ".heat-canvas canvas");
    const top = (await page.evaluate(
      async (asked) => (await fetch(`api/v1/top?${asked}&demangle=simple&limit=50`)).json(),
      span,
    )) as {
      rows: { name: string; kind: number; binary: string | null; file: string | null; self: number; total: number }[];
    };
    // A function of a program with callers of its own, not the kernel's and not a leaf of the C library.
    const row = top.rows.find(({ kind, self, total }) => kind === 2 && total > self * 1.05) ?? top.rows[0];
    const fn = encodeURIComponent(`${row.kind}|${row.binary ?? ""}|${row.file ?? ""}|${row.name}`);
    await take("sandwich", "dark", `${whole}&tab=sandwich&fn=${fn}&color=package`, ".filling canvas, .sandwich canvas");
    expect(misdeeds.strangers).toEqual([]);
  } finally {
    await browser.close();
  }
});

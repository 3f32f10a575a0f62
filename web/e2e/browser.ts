/** A fresh headless Chromium that keeps to itself, and pages that remember what went wrong on them. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BrowserContext, chromium, type Page } from "playwright-core";

export interface Browser {
  context: BrowserContext;
  close(): Promise<void>;
}

/** How Chromium is started, here and by the benchmark. */
export const LAUNCH = {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
};
export const VIEWPORT = { width: 1440, height: 900 };

export async function openBrowser(): Promise<Browser> {
  const profile = mkdtempSync(join(tmpdir(), "profiler-e2e-"));
  const context = await chromium.launchPersistentContext(profile, {
    ...LAUNCH,
    viewport: VIEWPORT,
    acceptDownloads: true,
    timezoneId: "UTC",
  });
  return {
    context,
    close: async () => {
      await context.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}

/** What a page did that it must not do. */
export interface Misdeeds {
  /** Errors in the console and uncaught exceptions, policy violations among them. */
  errors: string[];
  /** Requests to another origin than the page's. */
  strangers: string[];
}

export async function openPage(browser: Browser, url: string): Promise<{ page: Page; misdeeds: Misdeeds }> {
  const page = await browser.context.newPage();
  const misdeeds: Misdeeds = { errors: [], strangers: [] };
  const { origin } = new URL(url);
  page.on("console", (message) => {
    if (message.type() === "error") misdeeds.errors.push(message.text());
  });
  page.on("pageerror", (error) => misdeeds.errors.push(String(error)));
  page.on("request", (request) => {
    const address = new URL(request.url());
    if (address.origin !== origin && address.protocol.startsWith("http")) misdeeds.strangers.push(request.url());
  });
  await page.goto(url);
  return { page, misdeeds };
}

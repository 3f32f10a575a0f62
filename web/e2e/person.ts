/**
 * What a person does with the page, in steps: the tests of the page are written in them. `usePage()` opens a browser once, a
 * page for each test, against the stand-in server or, when PROFILER_URL is set, a real one; after each test the page must have
 * logged no error and asked nobody else.
 */

import { join } from "node:path";
import type { Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect } from "vitest";
import { type Browser, type Misdeeds, openBrowser, openPage } from "./browser";
import { type Mock, startMock, UNTROUBLED } from "./mock-server";
import { startProxy } from "./proxy";

/** Address of a real profiler to test against. */
export const real = process.env.PROFILER_URL;

export class Person {
  private mock: Mock | null = null;
  private proxy: { url: string; close(): void } | null = null;
  private browser!: Browser;
  /** The page's address, without a query. */
  base = "";
  page!: Page;
  misdeeds!: Misdeeds;

  async start(): Promise<void> {
    if (real === undefined) this.mock = await startMock({ dist: join(import.meta.dirname, "../dist"), nodes: 20_000 });
    // A real one is tested as it is used behind a proxy; the stand-in has a sub-path of its own.
    if (real !== undefined) this.proxy = await startProxy(real);
    this.base = this.mock?.url ?? this.proxy?.url ?? "";
    this.browser = await openBrowser();
  }

  async stop(): Promise<void> {
    await this.browser?.close();
    await this.mock?.close();
    this.proxy?.close();
  }

  /** Waits until the page has drawn as many frames. */
  async frames(count: number): Promise<void> {
    for (let frame = 0; frame < count; frame++)
      await this.page.evaluate(() => new Promise<void>((resolve) => requestAnimationFrame(() => resolve())));
  }

  async open(): Promise<void> {
    ({ page: this.page, misdeeds: this.misdeeds } = await openPage(this.browser, this.base));
    await this.graph();
  }

  async leave(): Promise<void> {
    if (this.mock !== null) Object.assign(this.mock.state, UNTROUBLED);
    await this.page.close();
    expect(this.misdeeds.errors, "errors in the console").toEqual([]);
    expect(this.misdeeds.strangers, "requests to other origins").toEqual([]);
  }

  /** The stand-in's state; only where there is one. */
  get server(): Mock["state"] {
    if (this.mock === null) throw new Error("a real server cannot be told what to do");
    return this.mock.state;
  }

  /** Goes to the page with this query. */
  async visit(query: string): Promise<void> {
    await this.page.goto(`${this.base}${query}`);
  }

  /** Waits for the flame graph to be there and painted. */
  async graph(): Promise<void> {
    await this.page.waitForSelector(".flame-sticky canvas");
    await this.page.waitForFunction(() => performance.getEntriesByName("draw").length > 0);
  }

  params(): URLSearchParams {
    return new URL(this.page.url()).searchParams;
  }

  /** Waits until a parameter of the address is this. */
  async param(name: string, value: RegExp | null): Promise<void> {
    const now = expect.poll(() => this.params().get(name));
    if (value === null) await now.toBeNull();
    else await now.toMatch(value);
  }

  details(): Promise<string> {
    return this.page.locator(".details").innerText();
  }

  frameName(): Promise<string> {
    return this.page.locator(".details .name").innerText();
  }

  /** Moves over a row of the first graph and returns the name of the frame there. */
  async hover(row: number, share = 0.02): Promise<string> {
    const box = await this.page.locator(".flame-sticky canvas").first().boundingBox();
    if (box === null) throw new Error("no canvas");
    await this.page.mouse.move(box.x + box.width * share, box.y + row * 18 + 9);
    return this.frameName();
  }

  /** Moves over the first frame from row 2 down that is a function (a process or a note on a cut stack is none); its row and name. */
  async hoverFunction(): Promise<{ row: number; name: string }> {
    for (let row = 2; row < 12; row++) {
      const name = await this.hover(row);
      if (/\b(native|kernel|inlined|no symbol)\b/.test(await this.page.locator(".tooltip").innerText())) {
        return { row, name };
      }
    }
    throw new Error("no function at the left edge of the graph");
  }

  async click(row: number, share = 0.02): Promise<void> {
    await this.hover(row, share);
    await this.page.mouse.down();
    await this.page.mouse.up();
  }

  async brush(from: number, to: number): Promise<void> {
    const box = await this.page.locator(".chart .u-over").boundingBox();
    if (box === null) throw new Error("no chart");
    const y = box.y + box.height / 2;
    await this.page.mouse.move(box.x + box.width * from, y);
    await this.page.mouse.down();
    await this.page.mouse.move(box.x + box.width * ((from + to) / 2), y, { steps: 3 });
    await this.page.mouse.move(box.x + box.width * to, y, { steps: 3 });
    await this.page.mouse.up();
  }

  /** Runs `act` and waits for a flame graph with that kind of question; what is asked meanwhile for live's sake is not it. */
  async answerTo(act: () => Promise<unknown>, parameter: string, value: RegExp): Promise<URL> {
    const fits = (address: string) => value.test(new URL(address).searchParams.get(parameter) ?? "");
    const [response] = await Promise.all([
      this.page.waitForResponse((r) => r.url().includes("api/v1/flamegraph") && r.status() === 200 && fits(r.url())),
      act(),
    ]);
    return new URL(response.url());
  }
}

/** A person at the page, for the tests of a file. */
export function usePage(): Person {
  const person = new Person();
  beforeAll(() => person.start());
  afterAll(() => person.stop());
  beforeEach(() => person.open());
  afterEach(() => person.leave());
  return person;
}

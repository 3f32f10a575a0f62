/**
 * What the page says when there is nothing to draw or something is wrong: each state names its cause and the way out. Against
 * the stand-in alone, which can be told to have these troubles.
 */

import { describe, expect, test } from "vitest";
import { real, usePage } from "./person";

const person = usePage();

const title = () => person.page.locator(".empty h2").innerText();

/** The browser logs every answer that refuses; here they are meant. */
function forgiveRefusals(): void {
  person.misdeeds.errors = person.misdeeds.errors.filter((error) => !/Failed to load resource|ERR_/.test(error));
}

describe.runIf(real === undefined)("the page and a server with troubles", () => {
  test("waits for the first window and shows it when it is there", async () => {
    person.server.waiting = true;
    await person.page.goto(person.base);
    await expect.poll(title).toBe("Recording the first samples");
    person.server.waiting = false;
    await person.graph();
  });

  test("says that the server is gone, keeps what it shows, and reconnects by itself", async () => {
    person.server.gone = true;
    await expect
      .poll(() => person.page.locator(".notice.bad").innerText(), { timeout: 10_000 })
      .toContain("does not answer");
    expect(await person.page.locator(".flame-sticky canvas").count()).toBe(1);
    person.server.gone = false;
    await expect.poll(() => person.page.locator(".notice.bad").count(), { timeout: 10_000 }).toBe(0);
    forgiveRefusals();
  });

  test("offers a shorter range when a question is too large, and shows its graph", async () => {
    person.server.refusal = {
      status: 422,
      code: "query_too_large",
      title: "the answer would take more than 256 MiB",
      detail: "narrow the range or the filter",
      command: null,
    };
    await person.visit("?from=now-7d");
    await expect.poll(title).toBe("The question is too large");
    // Asking again has the same answer.
    await person.page.getByRole("button", { name: "Ask again" }).click();
    expect(await title()).toBe("The question is too large");
    person.server.refusal = null;
    await person.page.getByRole("button", { name: "Show the last 15 minutes" }).press("Enter");
    await person.param("from", /^now-15m$/);
    await person.graph();
    forgiveRefusals();
  });

  test("says what something in front of the profiler answered, and asks again by button", async () => {
    person.server.refusal = {
      status: 401,
      code: "login",
      title: "Log in first",
      detail: "Open /login.",
      command: null,
    };
    await person.page.goto(person.base);
    await expect.poll(title).toBe("Log in first");
    expect(await person.page.locator(".empty").innerText()).toContain("Open /login.");
    person.server.refusal = null;
    await person.page.getByRole("button", { name: "Ask again" }).click();
    await person.graph();
    forgiveRefusals();
  });

  test("says that the session has ended and what to do, in every view, and goes on by itself", async () => {
    const detail = "in a browser, open the link that `sudo profiler url` prints";
    for (const view of ["", "?tab=table", "?tab=heatmap", "?tab=quality"]) {
      await person.visit(view);
      await expect.poll(() => person.page.locator(".notice.bad").count()).toBe(0);
      await expect.poll(() => person.page.locator(".host strong").innerText()).not.toBe("");
      person.server.refusal = {
        status: 401,
        code: "login_required",
        title: "this needs a login",
        detail,
        command: "sudo profiler url",
      };
      const said = () => person.page.locator(".notice.bad").innerText();
      await expect.poll(said, { timeout: 15_000 }).toContain("Your session has ended");
      expect(await said()).toMatch(/sudo profiler url --db \S+ --base http:\/\/127\.0\.0\.1:\d+\/\S*\//);
      if (view === "") expect(await title()).toBe("Your session has ended");
      person.server.refusal = null;
      await expect.poll(() => person.page.locator(".notice.bad").count(), { timeout: 15_000 }).toBe(0);
    }
    await person.visit("");
    await person.graph();
    forgiveRefusals();
  });

  test("shows what the profiler lacks for as long as it lacks it", async () => {
    const lacking = "CAP_SYS_PTRACE is missing: files of other users have no names. sudo profiler doctor says more.";
    person.server.notices = [lacking];
    await person.page.reload();
    const notices = () => person.page.locator(".notice").allInnerTexts();
    await expect.poll(notices).toEqual([expect.stringContaining(lacking)]);
    await person.graph();
    expect(await person.page.locator(".flame-sticky canvas").isVisible()).toBe(true);
    person.server.notices = [];
    await expect.poll(notices, { timeout: 15_000 }).toEqual([]);
  });

  test("shows a recording that is served up to its end, with nothing to follow", async () => {
    person.server.history = true;
    await person.page.goto(person.base);
    await person.graph();
    expect(await person.page.locator(".host").innerText()).toContain("not recording");
    const live = person.page.getByRole("switch", { name: "Live" });
    expect([await live.isDisabled(), await live.getAttribute("aria-checked")]).toEqual([true, "false"]);
    // The presets count from the end of the recording, also by key.
    await person.page.getByRole("group", { name: "Time range" }).getByRole("button", { name: "15m" }).click();
    await person.param("to", /^\d+$/);
    expect(Number(person.params().get("to")) - Number(person.params().get("from"))).toBe(900_000);
    const before = person.page.url();
    await person.page.keyboard.press("l");
    expect(person.page.url()).toBe(before);
  });

  test("says that a recording has no samples after its end, and how to go on with it", async () => {
    person.server.history = true;
    const now = Date.now();
    await person.visit(`?from=${now + 3_600_000}&to=${now + 7_200_000}&filter=${encodeURIComponent('{pid="1"}')}`);
    await expect.poll(title).toBe("Nothing is recorded that late");
    await person.page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await person.page.locator(".empty .copy").click();
    const copied = () => person.page.evaluate(() => navigator.clipboard.readText());
    await expect.poll(copied).toMatch(/^sudo profiler run --db \S+$/);
    await person.page.getByRole("button", { name: "Show the newest hour" }).click();
    await person.param("to", /^\d+$/);
    expect(Number(person.params().get("to"))).toBeLessThan(now + 3_600_000);
  });

  test("says that a database is empty, and how to record into it", async () => {
    person.server.history = true;
    person.server.waiting = true;
    await person.page.goto(person.base);
    await expect.poll(title).toBe("This database has no profiles yet");
    expect(await person.page.locator(".empty .copy").innerText()).toContain("sudo profiler run --db ");
  });

  test("dims what answers an earlier question until the new answer is there", async () => {
    await person.visit("?from=now-15m&live=0&facets=comm");
    await person.graph();
    const old = () => person.page.locator(".timeline.stale, .facet ul.stale, .panel.old, footer.stale").count();
    expect(await old()).toBe(0);
    person.server.slow = 4_000;
    await person.page.getByRole("group", { name: "Time range" }).getByRole("button", { name: "6h" }).click();
    await expect.poll(old).toBe(4);
    expect(await person.page.locator("footer.stale").innerText()).toContain("samples in view");
    await expect.poll(old, { timeout: 15_000 }).toBe(0);
  });

  test("says how far behind the profiler is where it is live", async () => {
    person.server.lag = 64_000;
    await person.page.goto(person.base);
    const live = person.page.getByRole("switch", { name: "Live" });
    await expect.poll(() => live.innerText()).toContain("64 s behind");
    expect(await live.getAttribute("class")).toContain("behind");
    expect(await live.getAttribute("title")).toContain("mappings of mapbomb (pid 4711)");
  });

  test("names the parts of an address that it cannot read, and takes them out", async () => {
    await person.page.goto(`${person.base}?from=banana&tab=table`);
    const notice = person.page.locator(".notice", { hasText: "cannot be read" });
    await expect.poll(() => notice.innerText()).toContain("from=banana");
    await notice.getByRole("button").click();
    expect(await notice.count()).toBe(0);
    expect(new URL(person.page.url()).search).toBe("?tab=table");
  });

  test("a copied link has the times that are on the screen, however long ago they were answered", async () => {
    await person.page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    const [answer] = await Promise.all([
      person.page.waitForResponse((response) => response.url().includes("/flamegraph?")),
      person.visit("?from=now-15m&live=0"),
    ]);
    const { from_ms, to_ms } = (await answer.json()) as { from_ms: number; to_ms: number };
    await person.graph();
    // Now is another second by then.
    await person.page.waitForFunction((then) => Date.now() - then > 1_000, to_ms);
    await person.page.locator(".views summary").click();
    await person.page.getByRole("button", { name: /^Copy the link/ }).click();
    const copied = () => person.page.evaluate(() => navigator.clipboard.readText());
    await expect.poll(copied).toContain(`from=${from_ms}`);
    expect(await copied()).toContain(`to=${to_ms}`);
  });

  test("the profiler's own work is one frame after all others, and a switch leaves it out", async () => {
    const row = person.page.locator("[data-label=comm] .facet-row");
    await person.graph();
    const heaviest = await row.first().locator(".name").innerText();
    person.server.own = [heaviest];
    await person.page.goto(person.base);
    await person.graph();
    await expect.poll(() => row.last().locator(".name").innerText()).toBe(heaviest);
    expect(await row.last().getAttribute("class")).toContain("own");
    await person.page.getByRole("tab", { name: "Tree" }).click();
    const names = person.page.locator(".tree-grid [aria-level='2'] .function");
    await expect.poll(async () => (await names.allInnerTexts()).at(-1)).toContain("[profiler itself]");
    expect((await names.allInnerTexts()).join(" ")).not.toContain(heaviest);
    await person.page.getByRole("tab", { name: "Flame graph" }).click();
    const line = person.page.getByTestId("hottest");
    expect(await line.innerText()).toContain("The profiler itself: ");
    expect(await line.innerText()).not.toContain(`${heaviest} kept`);
    await line.getByRole("switch").click();
    await person.param("filter", /^\{exe!="\/usr\/bin\/profiler"\}$/);
    await expect.poll(() => line.getByRole("switch").innerText()).toBe("Show it");
    await line.getByRole("switch").click();
    await person.param("filter", null);
  });

  test("a search counts what is hidden by itself, and shows it", async () => {
    await person.graph();
    const heaviest = await person.page.locator("[data-label=comm] .facet-row .name").first().innerText();
    person.server.own = [heaviest];
    await person.visit("?live=0");
    await person.graph();
    const found = person.page.locator(".found");
    await person.page.fill("#search", `"${heaviest}"`);
    await expect.poll(() => found.innerText()).toContain("Only in 1 hidden frame");
    // Letters that are in all processes.
    await person.page.fill("#search", "a");
    await expect.poll(() => found.innerText()).toMatch(/%[\s\S]* frames, [\d,]+ more hidden/);
    await found.getByRole("button", { name: "Show them" }).click();
    await person.param("tidy", /none/);
    await expect.poll(() => found.innerText()).toMatch(/% [\d,]+ frames/);
    expect(await found.innerText()).not.toContain("hidden");
  });

  /** A number of samples of several rates says nothing: everything is a time, wherever one is read. */
  test("samples of several rates are shown as time, in every view", async () => {
    const counts = () =>
      person.page.evaluate(() => {
        const titles = [...document.querySelectorAll("[title]")].map((element) => element.getAttribute("title") ?? "");
        return [document.body.innerText, ...titles].flatMap((text) => text.match(/[\d,]+ samples?\b(?! lost)/g) ?? []);
      });
    await person.graph();
    expect((await counts()).length).toBeGreaterThan(5);
    person.server.rates = true;
    for (const tab of ["flame", "table", "tree", "sandwich", "diff", "heatmap", "source", "quality"]) {
      await person.visit(`?live=0&tab=${tab}&fn=${encodeURIComponent("2|/usr/bin/app||main")}`);
      await expect.poll(() => person.page.locator(".quality").innerText()).toMatch(/\d (ms|s|min|h) CPU in view/);
      await expect.poll(() => person.page.getByRole("tab", { selected: true }).count()).toBe(1);
      await person.frames(10);
      expect(await counts(), tab).toEqual([]);
    }
    await person.visit("?live=0&tab=table");
    const row = person.page.locator(".top tbody .number").first();
    await expect.poll(() => row.getAttribute("title")).toMatch(/^[\d.,]+ (ms|s|min|h)$/);
  });

  test("one sentence says what is hot, and its words lead on", async () => {
    await person.graph();
    const line = person.page.getByTestId("hottest");
    await expect
      .poll(() => line.innerText())
      .toMatch(/kept [\d.]+ cores busy \([\d.]+ % of the samples\), most in \S+ \([\d.]+ % of that\)/);
    const [process, fn] = await line.locator("span").first().getByRole("button").allInnerTexts();
    await line.getByRole("button", { name: process, exact: true }).click();
    await person.param("filter", new RegExp(`comm="${process}"`));
    await line.getByRole("button", { name: fn }).click();
    await person.param("tab", /sandwich/);
    await expect.poll(() => person.page.locator(".sandwich .filling .name").innerText()).toBe(fn);
  });

  test("a folder of the page brings the text of a source file, and is forgotten again", async () => {
    await person.visit("?tab=table&search=7&live=0");
    await person.page.locator(".top .function .link", { hasText: /7$/ }).first().click();
    await person.page.getByRole("button", { name: "Source", exact: true }).first().click();
    const part = person.page.locator(".code-part[aria-label=Source]");
    await expect.poll(() => part.locator(".code-reason").innerText()).toContain("not on this host");
    await part.getByLabel("lies on this host in").fill("src");
    await part.getByRole("button", { name: "Add folder" }).click();
    await expect.poll(() => part.locator(".problem").innerText()).toContain("absolute");
    await part.getByLabel("lies on this host in").fill("/home/me/src");
    await part.getByRole("button", { name: "Add folder" }).click();
    await expect.poll(() => part.locator(".code-scroller").innerText()).toContain("work(");
    expect(person.server.asked.some((path) => path.includes("source_map="))).toBe(true);
    await person.page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await part.getByRole("button", { name: "Copy" }).click();
    await expect
      .poll(() => person.page.evaluate(() => navigator.clipboard.readText()))
      .toMatch(/ % .* step_\d+ = work/);
    await person.page.evaluate(() => localStorage.clear());
  });

  test("bands are read under the pointer, and a click on one keeps it alone", async () => {
    await person.visit("?by=comm&live=0");
    const bands = person.page.locator(".key .band");
    await expect.poll(() => bands.count(), { timeout: 10_000 }).toBeGreaterThan(1);
    const chart = await person.page.locator(".chart .u-over").boundingBox();
    if (chart === null) throw new Error("no chart");
    await person.page.mouse.move(chart.x + chart.width / 3, chart.y + 20);
    const values = person.page.getByTestId("band-values");
    await expect.poll(() => values.locator("li").count()).toBe((await bands.count()) + 1);
    expect(await values.innerText()).toMatch(/^\d\d-\d\d \d\d:\d\d:\d\d\s+cores\s[\s\S]*\d\.\d/);
    await bands.first().click();
    await person.param("filter", /comm=/);
  });

  test("all times are in UTC when that is wanted, also after a reload", async () => {
    await person.visit("?from=1763800000000&to=1763803600000");
    await person.page.locator(".custom summary").click();
    // All is written anew, the switch too.
    await person.page.getByLabel(/^Show all times in UTC/).click();
    const range = () => person.page.locator(".range-text").innerText();
    await expect.poll(range).toBe("2025-11-22 08:26:40 – 09:26:40");
    await person.page.reload();
    await expect.poll(range).toBe("2025-11-22 08:26:40 – 09:26:40");
    await person.page.evaluate(() => localStorage.clear());
  });

  test("a phone shows the graph first, and the numbers of a tapped frame in sight", async () => {
    await person.page.setViewportSize({ width: 390, height: 844 });
    await person.visit("?live=0");
    await person.graph();
    const canvas = await person.page.locator(".flame-sticky canvas").boundingBox();
    expect(canvas?.y ?? Number.POSITIVE_INFINITY).toBeLessThan(400);
    await person.click(2, 0.02);
    const details = await person.page.locator(".details").boundingBox();
    expect((details?.y ?? 0) + (details?.height ?? 0)).toBeLessThanOrEqual(844);
    await person.page.setViewportSize({ width: 1440, height: 900 });
  });

  test("a low window is for the graph", async () => {
    await person.page.setViewportSize({ width: 1024, height: 700 });
    await person.visit("?live=0");
    await person.graph();
    const height = async () => (await person.page.locator(".flame-sticky canvas").boundingBox())?.height ?? 0;
    await expect.poll(height).toBeGreaterThan(335);
    const field = await person.page.locator(".search .field").boundingBox();
    const next = await person.page.locator(".tidy > summary").boundingBox();
    expect((field?.x ?? 0) + (field?.width ?? 0)).toBeLessThanOrEqual(next?.x ?? 0);
    await person.page.setViewportSize({ width: 1440, height: 900 });
  });

  test("what a difference compares stands in one line", async () => {
    await person.page.setViewportSize({ width: 1440, height: 900 });
    await person.visit("?tab=diff");
    await person.graph();
    const middle = async (name: string) => {
      const box = await person.page.locator(".sides").getByText(name, { exact: true }).boundingBox();
      return (box?.y ?? 0) + (box?.height ?? 0) / 2;
    };
    expect(Math.abs((await middle("absolute")) - (await middle("Before")))).toBeLessThan(12);
  });
});

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
    await person.page.waitForTimeout(1_500);
    await person.page.locator(".views summary").click();
    await person.page.getByRole("button", { name: /^Copy the link/ }).click();
    const copied = () => person.page.evaluate(() => navigator.clipboard.readText());
    await expect.poll(copied).toContain(`from=${from_ms}`);
    expect(await copied()).toContain(`to=${to_ms}`);
  });
});

/**
 * Who may read, as browsers see it: the user who started the profiler, and another user of the same host. The profiler serves a
 * recording; both Chromiums are real ones, the second one runs as a user without privileges.
 */

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { chownSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { LAUNCH } from "./browser";

const { LOGIN_DATABASE: database, PROFILER: profiler } = process.env;
if (database === undefined || profiler === undefined)
  throw new Error("LOGIN_DATABASE and PROFILER name a recording and the program");

const OTHER_USER = 4242;
const folder = mkdtempSync(join(tmpdir(), "profiler-login-"));
let server: ChildProcess;
let said = "";
/** Where the page is, with a slash. */
let base = "";
/** The link that the profiler printed. */
let printed = "";
const contexts: BrowserContext[] = [];

/**
 * A Chromium that finds every foreign name at this host, as after a change of its DNS records. Newer ones keep other sites' pages from
 * loopback by themselves; this one, like older ones and other browsers, does not.
 */
async function browser(user: number): Promise<BrowserContext> {
  const profile = mkdtempSync(join(folder, "chromium-"));
  chownSync(profile, user, user);
  const start = join(folder, `chromium-${user}.sh`);
  const drop = user === 0 ? "" : `setpriv --reuid=${user} --regid=${user} --clear-groups`;
  writeFileSync(start, `#!/bin/sh\nHOME=${profile} exec ${drop} ${LAUNCH.executablePath} "$@"\n`, { mode: 0o755 });
  const context = await chromium.launchPersistentContext(profile, {
    ...LAUNCH,
    executablePath: start,
    args: [
      ...LAUNCH.args,
      "--host-resolver-rules=MAP *.example 127.0.0.1",
      `--ip-address-space-overrides=${new URL(base).host}=public`,
    ],
  });
  contexts.push(context);
  return context;
}

const graph = (page: Page) => page.waitForSelector(".flame-sticky canvas");

/** A fresh link, with what a view adds to it. */
const freshLink = (...more: string[]) =>
  execFileSync(profiler, ["url", "--db", database, "--base", base, ...more], { encoding: "utf8" }).trim();

let mine: BrowserContext;
let theirs: BrowserContext;

beforeAll(async () => {
  chownSync(folder, 0, 0);
  execFileSync("chmod", ["711", folder]);
  server = spawn(profiler, ["serve", "--listen", "127.0.0.1:0", database], { stdio: ["ignore", "ignore", "pipe"] });
  server.stderr?.on("data", (text) => {
    said += text;
  });
  await vi.waitFor(() => expect(said).toMatch(/^open http/m), 20_000);
  printed = /^open (\S+)/m.exec(said)?.[1] ?? "";
  base = `${new URL(printed).origin}/`;
  mine = await browser(0);
  theirs = await browser(OTHER_USER);
});

afterAll(async () => {
  await Promise.all(contexts.map((context) => context.close()));
  server?.kill("SIGINT");
  rmSync(folder, { recursive: true, force: true });
});

test("who started it opens the page by its plain address, and keeps nothing for it", async () => {
  const page = await mine.newPage();
  expect((await page.goto(base))?.status()).toBe(200);
  await graph(page);
  expect(await mine.cookies()).toEqual([]);
  await page.close();
});

test("another user is told how to get in, and gets nothing else, whatever is asked for", async () => {
  const page = await theirs.newPage();
  expect((await page.goto(base))?.status()).toBe(401);
  expect(await page.locator("h1").innerText()).toBe("This needs a login");
  expect(await page.locator("pre").innerText()).toBe(`sudo profiler url --db ${database} --base ${base.slice(0, -1)}`);
  const document = JSON.parse(execFileSync("curl", ["-sf", `${base}api/openapi.json`], { encoding: "utf8" }));
  const index = execFileSync("curl", ["-sf", base], { encoding: "utf8" });
  const assets = [...index.matchAll(/"\.\/([^"]+)"/g)].map((found) => found[1]);
  const paths = Object.keys(document.paths).map((path) => path.slice(1).replace("{name}", "comm"));
  expect(assets.length).toBeGreaterThan(2);
  for (const path of [...paths, ...assets, "", "index.html", "api/v1/export/folded"]) {
    const method = path === "api/v1/symbolize" ? "POST" : "GET";
    const status = await page.evaluate(
      async ([url, method]) => (await fetch(url, { method })).status,
      [`/${path}`, method],
    );
    expect(status, path).toBe(path === "healthz" ? 200 : 401);
  }
  expect(await theirs.cookies()).toEqual([]);
  await page.close();
});

test("the printed link lets another user in once, and leaves address, history, referrers and log", async () => {
  const secret = new URL(printed).searchParams.get("login") ?? "";
  const token = readFileSync(`${database}.token`, "utf8").trim();
  const page = await theirs.newPage();
  const asked: { url: string; referrer: string }[] = [];
  page.on("request", (request) => asked.push({ url: request.url(), referrer: request.headers().referer ?? "" }));
  await page.goto(`${printed}&tab=table`);
  await page.waitForSelector("[role=grid], table");
  expect(new URL(page.url()).searchParams.get("tab")).toBe("table");
  expect(page.url()).not.toContain("login=");
  // The first request has it; nothing after it, nor what the page can see of where it came from.
  expect(asked[0].url).toContain(secret);
  expect(asked.slice(1).filter(({ url }) => url.includes(secret))).toEqual([]);
  expect(asked.filter(({ referrer }) => referrer !== "")).toEqual([]);
  expect(asked.filter(({ url }) => url.includes(token))).toEqual([]);
  const seen = await page.evaluate(() => [
    document.referrer,
    document.cookie,
    JSON.stringify(performance.getEntries()),
    location.href,
  ]);
  expect(seen.slice(0, 2)).toEqual(["", ""]);
  expect(seen.join(" ")).not.toContain(secret);
  // Back leads to what was before, not to the link.
  await page.goBack();
  expect(page.url()).not.toContain(secret);
  const [cookie, ...others] = await theirs.cookies();
  expect(others).toEqual([]);
  expect(cookie).toMatchObject({ httpOnly: true, sameSite: "Strict", path: "/" });
  expect((await page.goto(base))?.status()).toBe(200);
  await page.close();
  // Without the session it is used up.
  await theirs.clearCookies();
  const again = await theirs.newPage();
  expect((await again.goto(printed))?.status()).toBe(401);
  expect(await again.locator("h1").innerText()).toContain("This link was used");
  await again.close();
  expect(said).not.toContain(token);
});

test("a link that another site's page leads to works, and so does the page's address with a session", async () => {
  await theirs.route("http://chat.example/**", (route) =>
    route.fulfill({
      contentType: "text/html",
      body: `<a id="link" href="${link}">profile</a><a id="page" href="${base}?tab=table">page</a>`,
    }),
  );
  const link = `${freshLink()}&tab=quality`;
  const page = await theirs.newPage();
  await page.goto("http://chat.example/");
  await page.click("#link");
  await expect.poll(() => page.url()).toBe(`${base}?tab=quality`);
  await page.waitForSelector(".host strong");
  await page.goto("http://chat.example/");
  await page.click("#page");
  await expect.poll(() => page.url()).toContain("tab=table");
  await page.waitForSelector(".host strong");
  await page.close();
});

test("a page whose name was pointed here reads nothing, in the browser of who started it or has a session", async () => {
  const { port } = new URL(base);
  const evil = `http://evil.example:${port}/`;
  for (const context of [mine, theirs]) {
    const page = await context.newPage();
    await page.route(`${evil}attack`, (route) => route.fulfill({ contentType: "text/html", body: "<h1>attack</h1>" }));
    await page.goto(`${evil}attack`);
    for (const path of ["", "api/v1/status", "api/v1/top", "metrics", "api/v1/export/folded", "healthz"]) {
      // The answer can be read, for it has the page's own origin: it must hold nothing.
      const [status, body] = await page.evaluate(async (url) => {
        const answer = await fetch(url);
        return [answer.status, await answer.text()] as const;
      }, `/${path}`);
      expect(status, path).toBe(421);
      expect(body).toContain("wrong_host");
    }
    await page.close();
  }
});

test("a page of another port or site reads nothing, in the browser of who started it or has a session", async () => {
  for (const origin of ["http://127.0.0.1:9/", "http://evil.example/"]) {
    for (const context of [mine, theirs]) {
      const page = await context.newPage();
      await page.route(origin, (route) => route.fulfill({ contentType: "text/html", body: "<h1>attack</h1>" }));
      await page.goto(origin);
      const answers: number[] = [];
      page.on("response", (answer) => {
        if (answer.url().startsWith(base)) answers.push(answer.status());
      });
      const read = await page.evaluate(async (base) => {
        const tries = ["api/v1/status", "api/v1/top", "metrics"].flatMap((path) =>
          (["cors", "no-cors"] as const).map(async (mode) => {
            try {
              return (await (await fetch(base + path, { mode, credentials: "include" })).text()).length;
            } catch {
              return 0;
            }
          }),
        );
        return Promise.all(tries);
      }, base);
      expect(read, origin).toEqual([0, 0, 0, 0, 0, 0]);
      expect(
        answers.filter((status) => status === 200),
        origin,
      ).toEqual([]);
      await page.close();
    }
  }
});

test("a page whose session ends says so, and goes on when there is one again", async () => {
  const page = await theirs.newPage();
  await page.goto(`${freshLink()}&live=1`);
  await graph(page);
  const fresh = freshLink("--rotate");
  const notice = page.locator(".notice.bad");
  await page.getByRole("button", { name: "15m" }).click();
  await expect.poll(() => notice.innerText()).toContain("Your session has ended");
  expect(await notice.innerText()).toContain(`sudo profiler url --db ${database} --base ${base}`);
  const other = await theirs.newPage();
  await other.goto(fresh);
  await graph(other);
  await other.close();
  await expect.poll(() => notice.count(), { timeout: 40_000 }).toBe(0);
  await page.close();
});

/** The page stays small, and the lock file names no registry. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { brotliDecompressSync, gzipSync } from "node:zlib";
import { expect, test } from "vitest";

const web = join(import.meta.dirname, "..");
const assets = join(web, "dist/assets");

test.each([
  [".js", 100_000],
  [".css", 12_000],
])("all %s files together are at most %d bytes, gzipped", (extension, budget) => {
  const sizes = readdirSync(assets)
    .filter((name) => name.endsWith(extension))
    .map((name) => gzipSync(readFileSync(join(assets, name)), { level: 9 }).length);
  expect(sizes.length).toBeGreaterThan(0);
  const total = sizes.reduce((a, b) => a + b);
  console.log(`${extension}: ${total} bytes gzipped of ${budget}`);
  expect(total).toBeLessThanOrEqual(budget);
});

test("each file is there packed, too, and unpacks to itself", () => {
  const dist = join(web, "dist");
  const files = readdirSync(dist, { recursive: true, encoding: "utf8" }).filter((name) =>
    /\.(html|js|css|svg)$/.test(name),
  );
  expect(files.length).toBeGreaterThan(3);
  for (const name of files) {
    const plain = readFileSync(join(dist, name));
    expect(brotliDecompressSync(readFileSync(join(dist, `${name}.br`))).equals(plain), name).toBe(true);
  }
});

test("the page holds no script or style of its own and names no other host", () => {
  const html = readFileSync(join(web, "dist/index.html"), "utf8");
  expect(html).not.toMatch(/<style|style=|<script(?![^>]*\bsrc=)|https?:/);
});

test("the lock file names no registry", () => {
  expect(readFileSync(join(web, "package-lock.json"), "utf8")).not.toMatch(/"resolved"/);
});

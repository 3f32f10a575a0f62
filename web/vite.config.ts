import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync } from "node:zlib";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

/** Names the script that draws in the document, so that it is fetched beside the one that asks and not after it. */
const preloadViews: Plugin = {
  name: "preload-views",
  transformIndexHtml: {
    order: "post",
    handler: (_html, { bundle }) =>
      Object.values(bundle ?? {})
        .filter((file) => file.type === "chunk" && file.isDynamicEntry && file.name === "open")
        .map(({ fileName }) => ({
          tag: "link",
          attrs: { rel: "modulepreload", crossorigin: true, href: `./${fileName}` },
          injectTo: "head" as const,
        })),
  },
};

/** Puts a packed form beside each file: packing it at each request took the server longer than sending it. */
const packed: Plugin = {
  name: "packed",
  apply: "build",
  writeBundle({ dir: dist = "dist" }) {
    for (const name of readdirSync(dist, { recursive: true, encoding: "utf8" })) {
      const path = join(dist, name);
      if (statSync(path).isFile()) writeFileSync(`${path}.br`, brotliCompressSync(readFileSync(path)));
    }
  },
};

export default defineConfig({
  // Relative addresses, so that the page works under any sub-path of a proxy.
  base: "./",
  plugins: [preloadViews, packed],
  build: {
    target: "es2022",
    // One style sheet, no inlined assets: the policy `default-src 'none'` allows nothing else.
    assetsInlineLimit: 0,
    modulePreload: false,
    reportCompressedSize: false,
  },
  // `npm run dev` talks to a profiler on its default port.
  server: { proxy: { "/api": "http://127.0.0.1:7117" } },
  test: {
    include: ["src/**/*.test.ts"],
    environment: "node",
    env: { TZ: "UTC" },
  },
});

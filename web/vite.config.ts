import { defineConfig } from "vitest/config";

export default defineConfig({
  // Relative addresses, so that the page works under any sub-path of a proxy.
  base: "./",
  build: {
    target: "es2022",
    // One script and one style sheet, no inlined assets: the policy `default-src 'none'` allows nothing else.
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

import { defineConfig } from "vitest/config";

/** The page that `profiler export -o slice.html` writes. SLICE names one; a test of its own, for the others need no profiler. */
export default defineConfig({
  root: import.meta.dirname,
  test: {
    include: ["slice.ts"],
    environment: "node",
    testTimeout: 30_000,
    hookTimeout: 30_000,
    expect: { poll: { timeout: 20_000 } },
    reporters: ["verbose"],
  },
});

import { defineConfig } from "vitest/config";

export default defineConfig({
  root: import.meta.dirname,
  test: {
    include: ["**/*.test.ts"],
    environment: "node",
    env: { TZ: "UTC" },
    // One browser, one machine: timings would disturb each other.
    fileParallelism: false,
    testTimeout: 90_000,
    hookTimeout: 90_000,
    // A busy machine answers late, not wrongly.
    expect: { poll: { timeout: 20_000 } },
    reporters: ["verbose"],
    sequence: { concurrent: false },
  },
});

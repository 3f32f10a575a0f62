import { defineConfig } from "vitest/config";

/** The page's figures against the samples of random histories; in Node, or with ON=page in Chromium. PROFILER and RANDOM_PROFILE name the programs. */
export default defineConfig({
  root: import.meta.dirname,
  test: {
    include: [process.env.ON === "page" ? "figures-page.ts" : "figures.ts"],
    environment: "node",
    testTimeout: 120_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 20_000 } },
    reporters: ["verbose"],
  },
});

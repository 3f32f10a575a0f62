import { defineConfig } from "vitest/config";

/** The page's figures against the samples of random histories, in Node. PROFILER and RANDOM_PROFILE name the programs. */
export default defineConfig({
  root: import.meta.dirname,
  test: {
    include: ["figures.ts"],
    environment: "node",
    testTimeout: 120_000,
    hookTimeout: 120_000,
    reporters: ["verbose"],
  },
});

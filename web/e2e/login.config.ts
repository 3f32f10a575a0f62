import { defineConfig } from "vitest/config";

/** Who may read, in Chromium as two users. LOGIN_DATABASE names a recording, PROFILER the program; a test of its own, for it needs root. */
export default defineConfig({
  root: import.meta.dirname,
  test: {
    include: ["login.ts"],
    environment: "node",
    testTimeout: 90_000,
    hookTimeout: 90_000,
    expect: { poll: { timeout: 20_000 } },
    reporters: ["verbose"],
  },
});

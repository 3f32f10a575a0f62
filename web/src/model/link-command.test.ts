import { expect, test } from "vitest";
import { linkCommand } from "./link-command";

const page = { origin: "http://localhost:8000", pathname: "/behind/" };

/** It is pasted into a shell, so nothing in a path may mean anything there. */
test("the command for a link names database and page, each as one word", () => {
  expect(linkCommand("/var/lib/profiler/profiler.db", page)).toBe(
    "sudo profiler url --db /var/lib/profiler/profiler.db --base http://localhost:8000/behind/",
  );
  expect(linkCommand("/tmp/a b'$(x).db", page)).toBe(
    "sudo profiler url --db '/tmp/a b'\\''$(x).db' --base http://localhost:8000/behind/",
  );
  expect(linkCommand(null, page)).toBeNull();
});

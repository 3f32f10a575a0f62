import { expect, test } from "vitest";
import { packageOf } from "./package";

/** Names of all the languages that are met on a host. */
test.each([
  ["tokio::runtime::park", 2, null, "tokio"],
  ["<alloc::vec::Vec<T> as core::ops::Drop>::drop", 2, null, "alloc"],
  ["<&str as core::fmt::Display>::fmt", 2, "/usr/bin/a", "a"],
  ["std::vector<int>::push_back(int&&)", 2, null, "std"],
  ["github.com/jackc/pgx/v5.(*Conn).Query", 2, null, "github.com/jackc/pgx/v5"],
  ["runtime.mallocgc", 2, "/usr/bin/server", "runtime"],
  ["ExecScan", 2, "/usr/lib/postgresql/16/bin/postgres", "postgres"],
  ["memcpy.part.0", 2, "/lib/libc.so.6", "libc.so.6"],
  ["schedule", 3, "[kernel]", "kernel"],
  ["[node+0x12]", 5, "/usr/bin/node", "node"],
  ["x", 2, null, "other"],
] as const)("%s belongs to its package", (name, kind, binary, wanted) => {
  expect(packageOf({ name, kind, binary })).toBe(wanted);
});

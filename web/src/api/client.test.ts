import { expect, test } from "vitest";
import { downloadAddress } from "./client";

/** A box of the heat map is what is shown: 40 samples, not the 11,501 of its minute. */
test("a download is of the box that is shown", () => {
  const scope = { from: 1_000, to: 61_000, filter: '{comm="web"}' };
  const box = { columns: 60, rows: 50, columnFrom: 3, columnTo: 7, rowFrom: 0, rowTo: 9 };
  const asked = (path: Parameters<typeof downloadAddress>[0], of: typeof box | null) => {
    const [place, query] = downloadAddress(path, scope, of).split("?");
    return { place, ...Object.fromEntries(new URLSearchParams(query)) };
  };
  const about = { from: "1000", to: "61000", filter: scope.filter };
  const edges = { columns: "60", rows: "50", column_from: "3", column_to: "7", row_from: "0", row_to: "9" };
  expect(asked("export/folded", box)).toEqual({ place: "api/v1/export/folded", ...about, ...edges });
  expect(asked("flamegraph", box)).toEqual({ place: "api/v1/heatmap/flamegraph", ...about, ...edges });
  expect(asked("flamegraph", null)).toEqual({ place: "api/v1/flamegraph", ...about });
});

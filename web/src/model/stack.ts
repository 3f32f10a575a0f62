/**
 * A timeline split by the largest values of a label: bands on top of each other that add up to the whole. Pure.
 *
 * A band's cores are its share of what all bands have of the bucket. What the listed values do not have is the
 * last band, "others". A bucket with cores and no samples (a window that began before the range reaches into it) has no bands.
 */

export interface Band {
  /** Null for what is left over. */
  value: string | null;
  cores: (number | null)[];
}

/** As many bands as colours that can be told apart in a small chart. */
export const MOST_BANDS = 6;

/** The bands, largest first, then what is left over if it is anything. */
export function bandsOf(
  whole: { busy_cores: readonly (number | null)[] },
  groups: { values: readonly string[]; samples: readonly (readonly number[])[]; others: readonly number[] },
): Band[] {
  const all = whole.busy_cores.map((_, i) =>
    [...groups.samples, groups.others].reduce((sum, samples) => sum + (samples[i] ?? 0), 0),
  );
  const coresOf = (samples: readonly number[]): (number | null)[] =>
    whole.busy_cores.map((cores, i) => {
      if (cores === null || cores === 0) return cores;
      return all[i] === 0 ? null : (cores * (samples[i] ?? 0)) / all[i];
    });
  const bands: Band[] = groups.values.map((value, i) => ({ value, cores: coresOf(groups.samples[i] ?? []) }));
  if (groups.others.some((n) => n > 0)) bands.push({ value: null, cores: coresOf(groups.others) });
  return bands;
}

/** Upper edges of the bands, from the lowest band up. */
export function edgesOf(bands: readonly Band[]): (number | null)[][] {
  const edges: (number | null)[][] = [];
  for (const { cores } of bands) {
    const below = edges[edges.length - 1];
    edges.push(cores.map((n, i) => (n === null ? null : n + (below?.[i] ?? 0))));
  }
  return edges;
}

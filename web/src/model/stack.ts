/**
 * A timeline split by the largest values of a label: bands on top of each other that add up to the whole. Pure.
 *
 * What the listed values do not have is the last band, "others"; a rounding error never makes it negative.
 */

export interface Band {
  /** Null for what is left over. */
  value: string | null;
  cores: (number | null)[];
}

/** As many bands as colours that can be told apart in a small chart. */
export const MOST_BANDS = 6;

/** The bands, largest first, and what is left of `whole`. Bands of another length are left out. */
export function bandsOf(
  whole: readonly (number | null)[],
  parts: readonly { value: string; cores: readonly (number | null)[] }[],
): Band[] {
  const bands: Band[] = parts
    .filter(({ cores }) => cores.length === whole.length)
    .map(({ value, cores }) => ({ value, cores: cores.map((n, i) => (whole[i] === null ? null : (n ?? 0))) }));
  const rest = whole.map((n, i) =>
    n === null ? null : Math.max(0, n - bands.reduce((sum, band) => sum + (band.cores[i] ?? 0), 0)),
  );
  if (rest.some((n) => n !== null && n > 1e-9)) bands.push({ value: null, cores: rest });
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

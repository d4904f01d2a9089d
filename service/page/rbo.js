// Rank-biased overlap of two rankings (Webber, Moffat and Zobel 2010), extrapolated: their equation 32.

export const PERSISTENCE = 0.9; // the first ten places make up 86% of the weight

/** 0 where nothing is shared, 1 where both are the same; of two lists of distinct ids, which may differ in length. */
export function rankBiasedOverlap(one, other, p = PERSISTENCE) {
  const [short, long] = one.length <= other.length ? [one, other] : [other, one];
  const [s, l] = [short.length, long.length];
  if (s === 0) return l === 0 ? 1 : 0;
  const seenShort = new Set(), seenLong = new Set();
  let overlap = 0, atShort = 0, sum = 0;
  for (let depth = 1; depth <= l; depth++) {
    const [a, b] = [short[depth - 1], long[depth - 1]];
    if (a !== undefined) seenShort.add(a);
    seenLong.add(b);
    overlap += a === b ? 1 : Number(seenLong.has(a)) + Number(seenShort.has(b));
    if (depth === s) atShort = overlap;
    sum += (overlap / depth) * p ** depth;
    if (depth > s) sum += ((atShort * (depth - s)) / (s * depth)) * p ** depth;
  }
  return ((1 - p) / p) * sum + ((overlap - atShort) / l + atShort / s) * p ** l;
}

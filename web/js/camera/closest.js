/**
 * The word somebody may have meant, as Python's `difflib.get_close_matches(word, words, n=1)` finds it.
 */

const LEAST_RATIO = 0.6;

/**
 * @param {string} word what was written
 * @param {readonly string[]} words what there is
 * @returns {string | undefined} the most similar word; undefined if none is similar enough
 */
export function closest(word, words) {
  const ranked = words
    .map((known) => ({ known, ratio: ratio([...known], [...word]) }))
    .filter((entry) => entry.ratio >= LEAST_RATIO)
    .sort((a, b) => b.ratio - a.ratio || (a.known < b.known ? 1 : -1));
  return ranked[0]?.known;
}

/** Ratcliff and Obershelp's similarity, 0 to 1: twice the letters in common over all letters. */
function ratio(a, b) {
  return (2 * lettersInCommon(a, b)) / (a.length + b.length || 1);
}

/** Length of the longest common run, and of those to its left and to its right. */
function lettersInCommon(a, b) {
  let best = { i: 0, j: 0, size: 0 };
  for (let i = 0; i < a.length; i++) {
    for (let j = 0; j < b.length; j++) {
      let size = 0;
      while (i + size < a.length && j + size < b.length && a[i + size] === b[j + size]) size++;
      if (size > best.size) best = { i, j, size };
    }
  }
  if (!best.size) return 0;
  const left = lettersInCommon(a.slice(0, best.i), b.slice(0, best.j));
  return left + best.size + lettersInCommon(a.slice(best.i + best.size), b.slice(best.j + best.size));
}

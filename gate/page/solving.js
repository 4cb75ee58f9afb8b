// A puzzle is solved by several workers, one for each core that the browser tells of. Each searches a range of nonces
// of a part; where there are fewer parts than workers, several search the same part.

const MOST_WORKERS = 8;
const FIRST_COUNT = 1024; // nonces of a worker's first range
const RANGE_TIME = 50; // milliseconds that a range should take
const PROGRESS_EVERY = 100; // milliseconds

/** Says why a worker cannot search; `passing` means that it may be able to when asked again. */
export class SolverFailure extends Error {
  constructor(text, passing = false) {
    super(text);
    this.passing = passing;
  }
}

/** Return the progress of a puzzle that nobody has begun: each part's solution and first nonce not given out. */
export function notBegun({ parts }) {
  return { nonces: new Array(parts).fill(null), next: new Array(parts).fill(0), tried: 0 };
}

export function isSolved({ nonces }) {
  return nonces.every((nonce) => nonce !== null);
}

/**
 * Solve what is left of a puzzle. `done`, its progress, is kept up to date, so that one may go on from it, and
 * `tellProgress` is called from time to time and at the end. Rejects with a SolverFailure, or with the signal's reason
 * once it is aborted.
 */
export async function solve(puzzle, done, tellProgress, signal) {
  const count = Math.min(MOST_WORKERS, navigator.hardwareConcurrency || 2);
  const workers = Array.from({ length: count }, startWorker);
  const searching = new Array(puzzle.parts).fill(0); // how many workers search each part
  let told = -Infinity;
  const tell = () => {
    if (!isSolved(done) && performance.now() - told < PROGRESS_EVERY) return;
    told = performance.now();
    tellProgress();
  };
  try {
    await new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      signal.throwIfAborted();
      for (const worker of workers) work(worker, puzzle, done, searching, tell).then(resolve, reject);
    });
  } finally {
    for (const worker of workers) worker.terminate();
  }
}

function startWorker() {
  return new Worker(new URL("solver.js", import.meta.url), { type: "module" });
}

/** Have a worker search range after range, until the puzzle is solved. */
async function work(worker, puzzle, done, searching, tell) {
  let count = FIRST_COUNT;
  while (!isSolved(done)) {
    const part = leastSearched(done, searching);
    const start = done.next[part];
    done.next[part] += count;
    searching[part]++;
    const begun = performance.now();
    const { nonce, tried } = await search(worker, { puzzle, part, start, count });
    searching[part]--;
    done.tried += tried;
    done.nonces[part] ??= nonce;
    count = nextCount(count, performance.now() - begun);
    tell();
  }
}

function nextCount(count, took) {
  if (took < RANGE_TIME / 2) return 2 * count;
  return took > 2 * RANGE_TIME ? Math.max(FIRST_COUNT, count / 2) : count;
}

/** Return the first of the unsolved parts that the fewest workers search. */
function leastSearched({ nonces }, searching) {
  let least = -1;
  for (let part = 0; part < nonces.length; part++) {
    if (nonces[part] === null && (least < 0 || searching[part] < searching[least])) least = part;
  }
  return least;
}

function search(worker, range) {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => (data.failure ? reject(new SolverFailure(data.failure)) : resolve(data));
    worker.onerror = (event) => reject(new SolverFailure(event.message ?? "not loaded", true));
    worker.postMessage(range);
  });
}

// SHA-256 (FIPS 180-4) of a puzzle's tries, block by block. The browser's own answers by a promise, which takes some
// fifteen times as long, and secure pages alone have it.

const primes = Array.from({ length: 312 }, (_, n) => n).filter(isPrime);
const fraction = (root) => (root % 1) * 2 ** 32;
export const CONSTANTS = Int32Array.from(primes, (prime) => fraction(Math.cbrt(prime)));
export const INITIAL = Int32Array.from(primes.slice(0, 8), (prime) => fraction(Math.sqrt(prime)));
const schedule = new Int32Array(64);

function isPrime(n) {
  for (let d = 2; d * d <= n; d++) if (n % d === 0) return false;
  return n > 1;
}

/** Hash bytes to eight words. */
export function sha256(bytes) {
  const padding = new Array((119 - (bytes.length % 64)) % 64).fill(0);
  const length = [0, 0, 0, 0, ...[24, 16, 8, 0].map((shift) => ((8 * bytes.length) >>> shift) & 255)];
  const message = words([...bytes, 0x80, ...padding, ...length]);
  let state = INITIAL;
  for (let at = 0; at < message.length; at += 16) {
    state = compressed(state, message.slice(at, at + 16), new Int32Array(8));
  }
  return state;
}

/** Add the state to what it is after all rounds over a block of 16 words, into eight words. */
export function compressed(state, block, into) {
  afterRounds(state, block, 64, into);
  for (let i = 0; i < 8; i++) into[i] += state[i];
  return into;
}

/** Compute what the state is after the first rounds over a block, into eight words. */
export function afterRounds(state, block, rounds, into) {
  const w = schedule;
  for (let i = 0; i < 16; i++) w[i] = block[i];
  for (let i = 16; i < rounds; i++) {
    const x = w[i - 15];
    const y = w[i - 2];
    const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
    const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  let a = state[0], b = state[1], c = state[2], d = state[3];
  let e = state[4], f = state[5], g = state[6], h = state[7];
  for (let i = 0; i < rounds; i++) {
    const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const one = (h + s1 + ((e & f) ^ (~e & g)) + CONSTANTS[i] + w[i]) | 0;
    const two = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + one) | 0;
    d = c;
    c = b;
    b = a;
    a = (one + two) | 0;
  }
  into[0] = a;
  into[1] = b;
  into[2] = c;
  into[3] = d;
  into[4] = e;
  into[5] = f;
  into[6] = g;
  into[7] = h;
  return into;
}

/** Read bytes as big-endian words. */
export function words(bytes) {
  return Array.from({ length: bytes.length / 4 }, (_, i) =>
    (bytes[4 * i] << 24) | (bytes[4 * i + 1] << 16) | (bytes[4 * i + 2] << 8) | bytes[4 * i + 3],
  );
}

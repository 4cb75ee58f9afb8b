"use strict";
// This worker solves a sha256 puzzle: for each part it finds the first nonce whose digest is small enough. It gets
// {puzzle, done}, where done = {nonces, next, tried} is the progress so far. It posts its progress from time to
// time and when all is solved, or {failure}.
//
// A try hashes one block with the code below. The browser's own SHA-256 answers by a promise, which takes some
// fifteen times as long, and secure pages alone have it. Where there is one, it checks each solution.

const BATCH = 8192; // tries between two checks of the clock
const MESSAGE_EVERY = 100; // milliseconds

const primes = Array.from({ length: 312 }, (_, n) => n).filter(isPrime);
const fraction = (root) => (root % 1) * 2 ** 32;
const CONSTANTS = Int32Array.from(primes, (prime) => fraction(Math.cbrt(prime)));
const INITIAL = Int32Array.from(primes.slice(0, 8), (prime) => fraction(Math.sqrt(prime)));
const schedule = new Int32Array(64);
const digest = new Int32Array(8);

self.onmessage = ({ data: { puzzle, done } }) =>
  solve(puzzle, done).catch((error) => self.postMessage({ failure: error.message || error.name }));

async function solve(puzzle, done) {
  const largest = new Uint32Array(words(fromHex(puzzle.largest)));
  let lastMessage = performance.now();
  while (done.nonces.length < puzzle.parts) {
    const part = done.nonces.length;
    const block = Int32Array.of(...sha256(seedMessage(puzzle, part)), 0, 0, 0x80000000, 0, 0, 0, 0, 320);
    while (done.nonces.length === part) {
      advance(done, block, largest);
      if (done.nonces.length > part) await check(puzzle, part, done.nonces[part]);
      if (performance.now() - lastMessage > MESSAGE_EVERY) {
        self.postMessage(done);
        lastMessage = performance.now();
      }
    }
  }
  self.postMessage(done);
}

/** Try a batch of nonces, up to the first solution. */
function advance(done, block, largest) {
  for (let nonce = done.next; nonce < done.next + BATCH; nonce++) {
    block[8] = Math.floor(nonce / 2 ** 32);
    block[9] = nonce;
    if (isAtMost(compressed(INITIAL, block, digest), largest)) {
      done.tried += nonce + 1 - done.next;
      done.next = 0;
      done.nonces.push(nonce);
      return;
    }
  }
  done.next += BATCH;
  done.tried += BATCH;
}

/**
 * Reject a solution that the browser's SHA-256 does not confirm. The gate would only say that it is wrong, not that
 * this file, or the engine that compiled it, is at fault. So the check and the search share nothing but the message
 * that is hashed first.
 */
async function check(puzzle, part, nonce) {
  if (!self.crypto?.subtle) return; // the page is not secure
  const seed = await browserSha256(Uint8Array.from(seedMessage(puzzle, part)));
  const message = new DataView(new ArrayBuffer(40));
  seed.forEach((byte, at) => message.setUint8(at, byte));
  message.setBigUint64(32, BigInt(nonce));
  const hashed = await browserSha256(message);
  if (number(hashed) > BigInt(`0x${puzzle.largest}`)) {
    throw new Error("your browser's own SHA-256 does not confirm its solution, so it was not sent");
  }
}

async function browserSha256(bytes) {
  return new Uint8Array(await self.crypto.subtle.digest("SHA-256", bytes));
}

/** Read bytes as a big-endian number. */
function number(bytes) {
  return bytes.reduce((value, byte) => value * 256n + BigInt(byte), 0n);
}

function isPrime(n) {
  for (let d = 2; d * d <= n; d++) if (n % d === 0) return false;
  return n > 1;
}

/** Return the bytes whose hash is the seed of a part, as Puzzle.seed in pow/puzzles/base.py makes them. */
function seedMessage(puzzle, part) {
  const utf8 = new TextEncoder();
  const kind = utf8.encode(puzzle.kind);
  const numbers = new DataView(new ArrayBuffer(16));
  numbers.setFloat64(0, puzzle.difficulty);
  numbers.setUint32(8, part);
  numbers.setUint32(12, puzzle.parts);
  const head = [...utf8.encode("tollgate puzzle 1:"), kind.length, ...kind];
  return [...head, ...new Uint8Array(numbers.buffer), ...fromHex(puzzle.challenge)];
}

/** Hash bytes by SHA-256 (FIPS 180-4) to eight words. */
function sha256(bytes) {
  const padding = new Array((119 - (bytes.length % 64)) % 64).fill(0);
  const length = [0, 0, 0, 0, ...[24, 16, 8, 0].map((shift) => ((8 * bytes.length) >>> shift) & 255)];
  const message = words([...bytes, 0x80, ...padding, ...length]);
  let state = INITIAL;
  for (let at = 0; at < message.length; at += 16) {
    state = compressed(state, message.slice(at, at + 16), new Int32Array(8));
  }
  return state;
}

function compressed(state, block, into) {
  const w = schedule;
  for (let i = 0; i < 16; i++) w[i] = block[i];
  for (let i = 16; i < 64; i++) {
    const x = w[i - 15];
    const y = w[i - 2];
    const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
    const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  let a = state[0], b = state[1], c = state[2], d = state[3];
  let e = state[4], f = state[5], g = state[6], h = state[7];
  for (let i = 0; i < 64; i++) {
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
  into[0] = state[0] + a;
  into[1] = state[1] + b;
  into[2] = state[2] + c;
  into[3] = state[3] + d;
  into[4] = state[4] + e;
  into[5] = state[5] + f;
  into[6] = state[6] + g;
  into[7] = state[7] + h;
  return into;
}

/** Tell whether a digest, read as a big-endian number, is at most `largest`. */
function isAtMost(digest, largest) {
  for (let i = 0; i < 8; i++) {
    const word = digest[i] >>> 0;
    if (word !== largest[i]) return word < largest[i];
  }
  return true;
}

function words(bytes) {
  return Array.from({ length: bytes.length / 4 }, (_, i) =>
    (bytes[4 * i] << 24) | (bytes[4 * i + 1] << 16) | (bytes[4 * i + 2] << 8) | bytes[4 * i + 3],
  );
}

function fromHex(text) {
  return Uint8Array.from(text.match(/../g) ?? [], (byte) => parseInt(byte, 16));
}

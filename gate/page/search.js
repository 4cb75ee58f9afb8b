// The search for a nonce whose digest is small enough: in WebAssembly's vectors where the browser has them, and in a
// loop elsewhere. Both find the same nonce.

import { afterRounds, compressed, INITIAL } from "./sha256.js";
import { compiled, LANES, NONCE } from "./vectors.js";

const digest = new Int32Array(8);
const vectors = trusted(compiled());

/**
 * Return the first nonce in start, ..., start + count - 1 that solves, or null. The block's words are the part's seed,
 * the nonce and the padding; `largest` are the eight words of the largest digest that solves.
 */
export function search(block, largest, start, count) {
  const end = start + count;
  for (let at = start; at < end; ) {
    const last = Math.min(end, (Math.floor(at / 2 ** 32) + 1) * 2 ** 32); // the nonce's high bits are the same
    block[NONCE - 1] = Math.floor(at / 2 ** 32);
    const found = vectors ? inVectors(vectors, block, largest, at, last) : inLoop(block, largest, at, last);
    if (found !== null) return found;
    at = last;
  }
  return null;
}

function inLoop(block, largest, start, end) {
  for (let nonce = start; nonce < end; nonce++) {
    block[NONCE] = nonce;
    if (isAtMost(compressed(INITIAL, block, digest), largest)) return nonce;
  }
  return null;
}

/** Look at the digests' first words only, and closer at those nonces that these let pass. */
function inVectors(vectors, block, largest, start, end) {
  const memory = new Int32Array(vectors.memory.buffer);
  memory.set(block, 0);
  afterRounds(INITIAL, block, NONCE, memory.subarray(16, 24));
  for (let at = start; at < end; at++) {
    const many = LANES * Math.ceil((end - at) / LANES);
    at += vectors.search(at, many, largest[0]) >>> 0;
    if (at >= end) return null;
    if (inLoop(block, largest, at, at + 1) !== null) return at;
  }
  return null;
}

/** Return the vectors if they find what the loop finds, and null otherwise: a wrong engine could search for ever. */
function trusted(vectors) {
  if (!vectors) return null;
  const block = Int32Array.of(...INITIAL, 0, 0, 0x80000000, 0, 0, 0, 0, 320);
  const largest = new Uint32Array(8).fill(2 ** 28); // one try in 16 solves
  const end = 256;
  for (let at = 0, found = 0; found !== null; at = found + 1) {
    found = inLoop(block, largest, at, end);
    if (found !== inVectors(vectors, block, largest, at, end)) return null;
  }
  return vectors;
}

/** Tell whether a digest, read as a big-endian number, is at most `largest`. */
function isAtMost(digest, largest) {
  for (let i = 0; i < 8; i++) {
    const word = digest[i] >>> 0;
    if (word !== largest[i]) return word < largest[i];
  }
  return true;
}

// This worker searches a range of nonces for one that solves a part of a sha256 puzzle. It gets
// {puzzle, part, start, count} and posts {part, nonce, tried}, where nonce is null if none solves, or {failure}.
//
// The search hashes with code of our own (search.js). Where the browser offers its SHA-256, it checks each solution.

import { search } from "./search.js";
import { sha256, words } from "./sha256.js";

self.onmessage = ({ data }) =>
  solve(data).then(self.postMessage.bind(self), (error) =>
    self.postMessage({ failure: error.message || error.name }),
  );

async function solve({ puzzle, part, start, count }) {
  const largest = new Uint32Array(words(fromHex(puzzle.largest)));
  const block = Int32Array.of(...sha256(seedMessage(puzzle, part)), 0, 0, 0x80000000, 0, 0, 0, 0, 320);
  const nonce = search(block, largest, start, count);
  if (nonce === null) return { part, nonce, tried: count };
  await check(puzzle, part, nonce);
  return { part, nonce, tried: nonce + 1 - start };
}

/**
 * Reject a solution that the browser's SHA-256 does not confirm. The gate would only say that it is wrong, not that
 * these files, or the engine that compiled them, are at fault. So the check and the search share nothing but the
 * message that is hashed first.
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

function fromHex(text) {
  return Uint8Array.from(text.match(/../g) ?? [], (byte) => parseInt(byte, 16));
}

// The search in WebAssembly's 128-bit vectors, put together here: a module of one page of memory and one function,
// search(start, count, largest): how many nonces after `start` the first is whose digest's first word is at most
// `largest`, or a number from `count` on. The memory has the block's 16 words, then the state after NONCE rounds.
// Four nonces are hashed at a time, one in each lane of the vectors.

import { CONSTANTS, INITIAL } from "./sha256.js";

export const NONCE = 9; // the block's word with the nonce's low 32 bits; the rounds before it are the same for all
export const LANES = 4;

const leb = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...leb(n >>> 7)]);
const sized = (items) => [...leb(items.flat(Infinity).length), ...items.flat(Infinity)];
const section = (id, ...items) => [id, ...sized([items.length, ...items])];
const I32 = 0x7f;
const V128 = 0x7b;

const get = (local) => [0x20, local];
const set = (local, value) => [value, 0x21, local];
const i32 = (code) => (...values) => [values, code];
const integer = (n) => (n < 64 ? [0x41, n] : [0x41, (n & 127) | 128, n >>> 7]); // for 0 <= n < 8192
const addInteger = i32(0x6a);
const isBelow = i32(0x49);
const zerosBehind = i32(0x68);
const vector = (code) => (...values) => [values, 0xfd, leb(code)];
const and = vector(0x4e);
const xor = vector(0x51);
const or = vector(0x50);
const add = vector(0xae);
const isAtMostVector = vector(0x3a);
const bits = vector(0xa4);
const inAllLanes = vector(0x11);
const shiftLeft = vector(0xab);
const shiftRight = vector(0xad);
const constant = (...lanes) => [0xfd, 0x0c, ...new Uint8Array(Int32Array.from(lanes).buffer)];
const same = (word) => constant(word, word, word, word);
const loaded = (at) => [integer(4 * at), 0xfd, 0x09, 2, 0]; // one word of the memory, in all lanes
const rotated = (x, by) => or(shiftRight(x, integer(by)), shiftLeft(x, integer(32 - by)));

/** Return the function's code. Its locals: start, count, largest, the offset, 16 words, the state and three more. */
function searchCode() {
  const [start, count, largest, offset] = [0, 1, 2, 3];
  const w = (i) => 4 + (i % 16);
  const last = 28; // a round's a ^ b, which the next round's majority needs
  const sum = 29;
  const passed = 30; // a bit for each lane
  const lines = [];
  for (let i = 0; i < 16; i++) if (i !== NONCE) lines.push(set(w(i), loaded(i)));
  lines.push(set(w(NONCE), add(inAllLanes(addInteger(get(start), get(offset))), constant(0, 1, 2, 3))));
  for (let i = 0; i < 8; i++) lines.push(set(20 + i, loaded(16 + i)));
  lines.push(set(last, xor(get(21), get(22))));
  let state = [20, 21, 22, 23, 24, 25, 26, 27];
  for (let i = NONCE; i < 64; i++) {
    if (i >= 16) lines.push(set(w(i), scheduled(w, i)));
    lines.push(...round(state, add(same(CONSTANTS[i]), get(w(i))), last, sum));
    state = [state[7], ...state.slice(0, 7)];
  }
  const first = add(get(state[0]), same(INITIAL[0])); // the digests' first words
  const block = [
    [0x03, 0x40], // loop
    lines,
    set(passed, bits(isAtMostVector(first, inAllLanes(get(largest))))),
    [get(passed), 0x04, 0x40], // if
    [addInteger(get(offset), zerosBehind(get(passed))), 0x0f, 0x0b], // return, end
    set(offset, addInteger(get(offset), integer(LANES))),
    [isBelow(get(offset), get(count)), 0x0d, 0, 0x0b], // repeat, end
    get(count),
    0x0b,
  ];
  return sized([3, [1, I32], [26, V128], [1, I32], block]);
}

/** A round, after which h has the new a, and d the new e. */
function round([a, b, c, d, e, f, g, h], word, last, sum) {
  const s1 = xor(xor(rotated(get(e), 6), rotated(get(e), 11)), rotated(get(e), 25));
  const choice = xor(get(g), and(get(e), xor(get(f), get(g))));
  const s0 = xor(xor(rotated(get(a), 2), rotated(get(a), 13)), rotated(get(a), 22));
  const majority = xor(get(b), and(get(h), get(last)));
  return [
    set(sum, add(add(add(get(h), s1), choice), word)),
    set(d, add(get(d), get(sum))),
    set(h, xor(get(a), get(b))),
    set(sum, add(add(get(sum), s0), majority)),
    set(last, get(h)),
    set(h, get(sum)),
  ];
}

/** The message schedule's next word. */
function scheduled(w, i) {
  const [x, y] = [get(w(i - 15)), get(w(i - 2))];
  const s0 = xor(xor(rotated(x, 7), rotated(x, 18)), shiftRight(x, integer(3)));
  const s1 = xor(xor(rotated(y, 17), rotated(y, 19)), shiftRight(y, integer(10)));
  return add(add(get(w(i - 16)), s0), add(get(w(i - 7)), s1));
}

/** Return the module's memory and function, or null where the browser lacks or forbids it. */
export function compiled() {
  const name = (text) => sized([...text].map((letter) => letter.charCodeAt(0)));
  const module = [
    [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    section(1, [0x60, 3, I32, I32, I32, 1, I32]), // the function's type
    section(3, [0]),
    section(5, [0, 1]), // one page of memory
    section(7, [name("memory"), 2, 0], [name("search"), 0, 0]),
    section(10, searchCode()),
  ];
  try {
    return new WebAssembly.Instance(new WebAssembly.Module(Uint8Array.from(module.flat(Infinity)))).exports;
  } catch {
    return null;
  }
}


"use strict";
// Solves a sha256 puzzle: for each part the first nonce whose digest is small enough. It is told the puzzle and
// what was done before, and says now and then what is done: {nonces, next, tried}.

const BATCH = 256; // digests under way at a time: a single one's way to the hashing thread takes longer than it
const MESSAGE_EVERY = 100; // milliseconds

self.onmessage = ({ data: { puzzle, done } }) => {
  solve(puzzle, done).catch(reportError); // without which the page would not hear of it
};

async function solve(puzzle, done) {
  const largest = fromHex(puzzle.largest);
  let lastMessage = performance.now();
  while (done.nonces.length < puzzle.parts) {
    const part = done.nonces.length;
    const digestsFrom = digester(await seed(puzzle, part));
    while (done.nonces.length === part) {
      advance(done, await digestsFrom(done.next), largest);
      if (performance.now() - lastMessage > MESSAGE_EVERY) {
        self.postMessage(done);
        lastMessage = performance.now();
      }
    }
  }
  self.postMessage(done);
}

/** Go past a batch, or to the next part if it holds a solution. */
function advance(done, digests, largest) {
  const winner = digests.findIndex((digest) => isAtMost(new Uint8Array(digest), largest));
  if (winner < 0) {
    done.next += BATCH;
    done.tried += BATCH;
  } else {
    done.nonces.push(done.next + winner);
    done.next = 0;
    done.tried += winner + 1;
  }
}

/** A function that gives the digests of the seed with each nonce of a batch. */
function digester(seed) {
  const message = new Uint8Array(seed.length + 8);
  message.set(seed);
  const nonceAt = new DataView(message.buffer, seed.length);
  return (start) => {
    const digests = [];
    for (let nonce = start; nonce < start + BATCH; nonce++) {
      nonceAt.setUint32(0, Math.floor(nonce / 2 ** 32));
      nonceAt.setUint32(4, nonce % 2 ** 32);
      digests.push(sha256(message)); // which copies the message before it returns
    }
    return Promise.all(digests);
  };
}

/** 32 bytes that no other part of any other puzzle has. */
async function seed(puzzle, part) {
  const utf8 = new TextEncoder();
  const kind = utf8.encode(puzzle.kind);
  const numbers = new DataView(new ArrayBuffer(16));
  numbers.setFloat64(0, puzzle.difficulty);
  numbers.setUint32(8, part);
  numbers.setUint32(12, puzzle.parts);
  const head = [...utf8.encode("tollgate puzzle 1:"), kind.length, ...kind];
  const said = [...head, ...new Uint8Array(numbers.buffer), ...fromHex(puzzle.challenge)];
  return new Uint8Array(await sha256(Uint8Array.from(said)));
}

function sha256(bytes) {
  return crypto.subtle.digest("SHA-256", bytes);
}

/** Whether a digest, read as a big-endian number, is no larger than another. */
function isAtMost(digest, largest) {
  const differs = digest.findIndex((byte, i) => byte !== largest[i]);
  return differs < 0 || digest[differs] < largest[differs];
}

function fromHex(text) {
  return Uint8Array.from(text.match(/../g) ?? [], (byte) => parseInt(byte, 16));
}

/* The random numbers of ardm/base/streams.py, bit by bit: a seed and the name of a stream make a key, and a keyed hash of position,
   row, step and call makes the number. So a seed means the same text here and in Python. All words are unsigned, of 32 bits. */
const streams = {
  /* Two words of numpy's SeedSequence over the words of the seed and the name (M. E. O'Neill's seed_seq_fe). */
  key(seed, stream) {
    const entropy = streams.words(seed, stream);
    let constant = 0x43b0d7e5;
    const hashed = (value) => {
      const first = value ^ constant;
      constant = Math.imul(constant, 0x931e8875);
      const second = Math.imul(first, constant);
      return second ^ (second >>> 16);
    };
    const mixed = (x, y) => {
      const both = Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y);
      return both ^ (both >>> 16);
    };
    const pool = [0, 1, 2, 3].map((i) => hashed(entropy[i] ?? 0));
    for (let from = 0; from < 4; from++) {
      for (let to = 0; to < 4; to++) if (to !== from) pool[to] = mixed(pool[to], hashed(pool[from]));
    }
    for (const more of entropy.slice(4)) {
      for (let to = 0; to < 4; to++) pool[to] = mixed(pool[to], hashed(more));
    }
    let next = 0x8b51f9dd;
    return pool.slice(0, 2).map((word) => {
      const first = word ^ next;
      next = Math.imul(next, 0x58f38ded);
      const second = Math.imul(first, next);
      return (second ^ (second >>> 16)) >>> 0;
    });
  },

  /* A seed below 2^53 and the bytes of a name in words. A seed of two words has 2^32 - 2 between them, where no byte can be. */
  words(seed, stream) {
    const [low, high] = [seed % 2 ** 32, Math.floor(seed / 2 ** 32)];
    return [low, ...(high ? [2 ** 32 - 2, high] : []), ...new TextEncoder().encode(stream)];
  },

  /* High and low word of a product; every number on the way is below 2^53 and so exact. */
  product(x, factor) {
    const high = (x >>> 16) * factor + Math.floor(((x & 0xffff) * factor) / 65536);
    return [Math.floor(high / 65536), Math.imul(x, factor) >>> 0];
  },

  /* Philox 4x32-10: four words for every counter of four words. */
  philox([a, b, c, d], [k, m]) {
    for (let round = 0; round < 10; round++) {
      const [highA, lowA] = streams.product(a, 0xd2511f53);
      const [highC, lowC] = streams.product(c, 0xcd9e8d57);
      [a, b, c, d] = [(highC ^ b ^ k) >>> 0, lowC, (highA ^ d ^ m) >>> 0, lowA];
      [k, m] = [(k + 0x9e3779b9) >>> 0, (m + 0xbb67ae85) >>> 0];
    }
    return [a, b, c, d];
  },

  /* chance(seed, stream)(step)(length): numbers in [0, 1) with 53 random bits; other ones at every call. Of the text in row 0. */
  chance(seed, stream) {
    const key = streams.key(seed, stream);
    return (step) => {
      let calls = 0;
      return (length) => {
        const call = calls++;
        return Array.from({ length }, (_, position) => {
          const [high, low] = streams.philox([position, 0, step, call], key);
          return ((high >>> 5) * 67108864 + (low >>> 6)) / 9007199254740992;
        });
      };
    };
  },
};

import { concat } from "../golden/bytes.ts";

/** A repeatable source of numbers: the same seed gives the same run. */
export class SeededNumbers {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 0 to `below` - 1. */
  below(below: number): number {
    this.#state = (this.#state + 0x6d_2b_79_f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  }

  pick<T>(from: readonly T[], otherwise: T): T {
    return from[this.below(from.length)] ?? otherwise;
  }

  bytes(size: number): Uint8Array {
    return Uint8Array.from({ length: size }, () => this.below(256));
  }
}

const empty = new Uint8Array(0);

type Mutation = (bytes: Uint8Array, numbers: SeededNumbers) => Uint8Array;

const mutations: readonly Mutation[] = [
  function flipBit(bytes, numbers) {
    const mutated = bytes.slice();
    const at = numbers.below(bytes.length);
    mutated[at] = (mutated[at] ?? 0) ^ (1 << numbers.below(8));
    return mutated;
  },
  function setByte(bytes, numbers) {
    const mutated = bytes.slice();
    mutated[numbers.below(bytes.length)] = numbers.pick([0, 1, 0x7f, 0x80, 0xff], 0);
    return mutated;
  },
  function cut(bytes, numbers) {
    const at = numbers.below(bytes.length);
    return concat(bytes.subarray(0, at), bytes.subarray(at + 1 + numbers.below(16)));
  },
  function insert(bytes, numbers) {
    const at = numbers.below(bytes.length);
    return concat(bytes.subarray(0, at), numbers.bytes(1 + numbers.below(16)), bytes.subarray(at));
  },
  function repeat(bytes, numbers) {
    const at = numbers.below(bytes.length);
    const piece = bytes.subarray(at, at + 1 + numbers.below(64));
    return concat(bytes.subarray(0, at), piece, piece, bytes.subarray(at));
  },
];

/** A row of corpus entries, most of them whole, some of them damaged. */
export function mutatedRow(corpus: readonly Uint8Array[], numbers: SeededNumbers): Uint8Array {
  const entries = Array.from({ length: 1 + numbers.below(8) }, () => numbers.pick(corpus, empty));
  return concat(...entries.map((entry) => (numbers.below(3) === 0 ? mutated(entry, numbers) : entry)));
}

function mutated(entry: Uint8Array, numbers: SeededNumbers): Uint8Array {
  let bytes = entry;
  for (let rounds = 1 + numbers.below(3); rounds > 0 && bytes.length > 0; rounds -= 1) {
    bytes = numbers.pick(mutations, (same) => same)(bytes, numbers);
  }
  return bytes;
}

/** The same bytes in pieces. */
export function inPieces(bytes: Uint8Array, numbers: SeededNumbers): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  const longest = numbers.pick([1, 7, 64, 4096], 1);
  for (let at = 0; at < bytes.length;) {
    const size = 1 + numbers.below(longest);
    pieces.push(bytes.subarray(at, at + size));
    at += size;
  }
  return pieces;
}

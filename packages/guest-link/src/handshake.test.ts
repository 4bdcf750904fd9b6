import { describe, expect, it } from "vitest";
import { fromHex, hexOf } from "./golden/bytes.ts";
import { goldenVectors } from "./golden/vectors.ts";
import { encodeHello, WelcomeScanner } from "./handshake.ts";

const vectors = goldenVectors();
const forHost = vectors.scans.filter((vector) => vector.reader === "host");

/** What follows the welcome; undefined when there is none. */
const scan = (nonceHex: string, bytes: Uint8Array, pieceBytes: number): string | undefined => {
  const scanner = new WelcomeScanner(fromHex(nonceHex));
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    const rest = scanner.push(bytes.subarray(at, at + pieceBytes));
    if (rest !== undefined) return hexOf(rest) + hexOf(bytes.subarray(at + pieceBytes));
  }
  return undefined;
};

describe("the handshake", () => {
  it("sends the hello of the vectors", () => {
    const hello = vectors.session.find((vector) => vector.kind === "hello");
    expect(hexOf(encodeHello(fromHex(hello?.nonceHex ?? "")))).toBe(hello?.hex);
  });

  it.each(forHost.map((vector) => [vector.name, vector] as const))("finds its welcome or waits on: %s", (_, vector) => {
    const bytes = fromHex(vector.hex);
    for (const pieceBytes of [1, 2, 5, 24, 25, 26, 1000]) {
      expect(scan(vector.nonceHex, bytes, pieceBytes)).toBe(vector.found ? vector.restHex : undefined);
    }
  });

  it("gives up after 1 MiB of something else", () => {
    const scanner = new WelcomeScanner(new Uint8Array(16));
    const garbage = new Uint8Array(65_536).fill(0x49);
    for (let read = 0; read < 1024 * 1024; read += garbage.length) expect(scanner.push(garbage)).toBeUndefined();
    expect(() => scanner.push(garbage)).toThrow(/no welcome among them/);
  });

  it("names both versions when the agent speaks another", () => {
    const nonce = new Uint8Array(16).fill(5);
    const welcome = fromHex(`49564d3157${hexOf(nonce)}02000000`);
    expect(() => new WelcomeScanner(nonce).push(welcome)).toThrow(/speaks version 2; expected 1/);
  });
});

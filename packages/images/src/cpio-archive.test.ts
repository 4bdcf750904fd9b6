import { expect, test } from "vitest";
import { cpioCharacterDevice, cpioDirectory, cpioFile, writeCpio } from "./cpio-archive.ts";
import { readCpio } from "./testing/read-cpio.ts";

const entries = [
  cpioDirectory("modules"),
  cpioCharacterDevice("dev/console", 5, 1),
  ...[0, 1, 2, 3, 4, 5].map((size) =>
    cpioFile(`modules/${"n".repeat(size + 1)}`, new Uint8Array(size).fill(65 + size)),
  ),
  cpioFile("init", Buffer.from("#!agent"), 0o755),
];

test("what is written is read back, whatever the lengths of names and data", () => {
  const read = readCpio(writeCpio(entries));
  expect(read.map(({ data, ...rest }) => ({ ...rest, data: [...data] }))).toEqual(
    entries.map(({ data, ...rest }) => ({ ...rest, data: [...data] })),
  );
});

test("an entry has the bytes that the kernel's documentation asks for", () => {
  const bytes = Buffer.from(writeCpio([cpioFile("init", Buffer.from("abc"), 0o755)]));
  expect(bytes.toString("latin1", 0, 110)).toBe(
    "070701" +
      "00000001" +
      "000081ed" +
      "00000000".repeat(2) +
      "00000001" +
      "00000000" +
      "00000003" +
      "00000000".repeat(4) +
      "00000005" +
      "00000000",
  );
  // Name with its NUL, padded to four bytes after the 110 of the header; then the data, padded.
  expect(bytes.toString("latin1", 110, 116)).toBe("init\0\0");
  expect(bytes.indexOf("abc\u0000070701")).toBe(116);
  expect(bytes.length % 4).toBe(0);
});

test("the same entries give the same bytes", () => {
  expect(Buffer.compare(writeCpio(entries), writeCpio(entries))).toBe(0);
});

test("bytes that are no archive are refused", () => {
  expect(() => readCpio(Buffer.from("not a cpio archive, by far"))).toThrow(RangeError);
});

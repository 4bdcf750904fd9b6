import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { joined, paddingBytes } from "./tar-format.ts";
import type { TarEntry } from "./tar-format.ts";
import { tarEntries } from "./tar-read.ts";
import { tarEnd, tarHeader } from "./tar-write.ts";
import type { WritableTarEntry } from "./tar-write.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

function entry(name: string, fields: Partial<WritableTarEntry> = {}): WritableTarEntry {
  const about = { kind: "file", mode: 0o644, sizeBytes: 0, modifiedS: 1000, link: new Uint8Array() } as const;
  return { ...about, name: encoder.encode(name), ...fields };
}

function archive(...entries: readonly (readonly [WritableTarEntry, string])[]): Uint8Array<ArrayBuffer> {
  const parts = entries.map(([about, text]) => {
    const content = encoder.encode(text);
    return joined(
      tarHeader({ ...about, sizeBytes: content.length }),
      content,
      new Uint8Array(paddingBytes(content.length)),
    );
  });
  return joined(...parts, tarEnd());
}

/** In pieces of an odd length. */
async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += 97) yield bytes.subarray(at, at + 97);
}

type Read = Pick<TarEntry, "kind" | "mode" | "sizeBytes"> & { name: string; link: string; text: string };

async function read(bytes: Uint8Array): Promise<readonly Read[]> {
  const found: Read[] = [];
  for await (const { name, link, kind, mode, sizeBytes, content } of tarEntries(pieces(bytes))) {
    let text = "";
    for await (const piece of content) text += decoder.decode(piece);
    found.push({ name: decoder.decode(name), link: decoder.decode(link), kind, mode, sizeBytes, text });
  }
  return found;
}

const longName = `${"d/".repeat(80)}ü\n-x`;

test("what is written is read again: names and links of any length, modes, contents", async () => {
  const bytes = archive(
    [entry("dir/", { kind: "directory", mode: 0o750 }), ""],
    [entry(longName, { mode: 0o600 }), "x".repeat(1000)],
    [entry("link", { kind: "symlink", link: encoder.encode(`../${longName}`) }), ""],
    [entry("empty"), ""],
  );
  expect(await read(bytes)).toMatchObject([
    { name: "dir/", kind: "directory", mode: 0o750 },
    { name: longName, kind: "file", mode: 0o600, sizeBytes: 1000, text: "x".repeat(1000) },
    { name: "link", kind: "symlink", link: `../${longName}` },
    { name: "empty", kind: "file", sizeBytes: 0 },
  ]);
});

test("tar itself understands what is written", () => {
  const bytes = archive([entry(longName), "content"], [entry("b", { mode: 0o755 }), "more"]);
  const listed = execFileSync("tar", ["-tvf", "-", "--quoting-style=escape"], { input: bytes, encoding: "utf8" });
  expect(listed).toContain(longName.replace("\n", "\\n"));
  expect(listed).toMatch(/-rwxr-xr-x 0\/0 +4 1970-01-01 .* b\n/);
  expect(execFileSync("tar", ["-xOf", "-", "b"], { input: bytes, encoding: "utf8" })).toBe("more");
});

test("what tar itself writes is read", async () => {
  const directory = mkdtempSync(join(tmpdir(), "instavm-tar-"));
  try {
    mkdirSync(join(directory, "d".repeat(90), "e".repeat(90)), { recursive: true });
    writeFileSync(join(directory, "d".repeat(90), "e".repeat(90), "file"), "content");
    symlinkSync("f".repeat(120), join(directory, "link"));
    for (const format of ["ustar", "pax"]) {
      const options = format === "ustar" ? ["--exclude=link"] : [];
      const bytes = execFileSync("tar", [`--format=${format}`, ...options, "-C", directory, "-cf", "-", "."]);
      const found = await read(bytes);
      const name = `./${"d".repeat(90)}/${"e".repeat(90)}/file`;
      expect(found).toContainEqual(expect.objectContaining({ name, text: "content" }));
      expect(found.some(({ kind, link }) => kind === "symlink" && link === "f".repeat(120))).toBe(format === "pax");
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test("content that nobody reads is passed over", async () => {
  const names: string[] = [];
  for await (const { name, content } of tarEntries(pieces(archive([entry("a"), "x".repeat(2000)], [entry("b"), ""])))) {
    names.push(decoder.decode(name));
    for await (const _ of content) break;
  }
  expect(names).toEqual(["a", "b"]);
});

test.each([
  ["is cut", (bytes: Uint8Array) => bytes.subarray(0, 600), /ends too early/],
  ["is no archive", () => encoder.encode("x".repeat(2000)), /no number/],
  ["was changed", (bytes: Uint8Array) => bytes.with(3, 1), /checksum/],
  ["has a size that is no number", (bytes: Uint8Array) => patched(bytes, 124, "zz"), /no number/],
  ["has endless records", () => tarHeader(entry("a", { name: new Uint8Array(70_000).fill(97) })), /70\d+ bytes of/],
])("an archive that %s is refused", async (_, make, message) => {
  await expect(read(make(archive([entry("a"), "content"])))).rejects.toThrow(message);
});

/** With a checksum that fits. */
function patched(bytes: Uint8Array, at: number, text: string): Uint8Array {
  const changed = bytes.slice();
  const before = changed.subarray(at, at + text.length).reduce((sum, byte) => sum + byte, 0);
  changed.set(encoder.encode(text), at);
  const after = changed.subarray(at, at + text.length).reduce((sum, byte) => sum + byte, 0);
  const sum = Number.parseInt(decoder.decode(changed.subarray(148, 154)), 8) + after - before;
  changed.set(encoder.encode(sum.toString(8).padStart(6, "0")), 148);
  return changed;
}

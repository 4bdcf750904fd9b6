import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { lastWords } from "./last-words.ts";

test("the ends of both logs are told, without what a terminal would obey", async () => {
  const directory = await mkdtemp(join(tmpdir(), "instavm-words-"));
  try {
    expect(await lastWords(directory)).toBe("");
    await writeFile(join(directory, "console.log"), `${"x".repeat(10_000)}\n\u001b[31mKernel panic\u001b[0m\r\n`);
    await writeFile(join(directory, "vm.log"), "qemu-system-x86_64: no such file\n");
    const words = await lastWords(directory);
    expect(words).toMatch(/x\n\[31mKernel panic\[0m\nqemu-system-x86_64: no such file$/);
    expect(words.length).toBeLessThanOrEqual(4_096);
  } finally {
    await rm(directory, { recursive: true });
  }
});

import { expect, test } from "vitest";
import { BootstrapProgress, formatProgress, ProgressReport } from "./build-progress.ts";
import type { BuildProgress } from "./build-progress.ts";

const output = `I: running apt-get update...
Get:1 http://mirror.example/debian bookworm InRelease [151 kB]
0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.
Get:1 http://mirror.example/debian bookworm/main amd64 libc6 amd64 2.36 [2757 kB]
Unpacking libc6:amd64 (2.36) ...
0 upgraded, 40 newly installed, 0 to remove and 0 not upgraded.
Setting up git (1) ...
INSTAVM step kernel
`;

test("apt's and dpkg's lines become steps with counts, in pieces of any size", () => {
  for (const size of [1, 7, 4096]) {
    const seen: BuildProgress[] = [];
    const progress = new BootstrapProgress(new ProgressReport((at) => seen.push(at)));
    for (let at = 0; at < output.length; at += size) progress.add(Buffer.from(output.slice(at, at + size)));
    expect(seen.map(({ step, count }) => ({ step, count }))).toEqual([
      { step: "fetch packages", count: { done: 1, total: 2 } },
      { step: "unpack packages", count: { done: 1, total: 2 } },
      { step: "set up packages", count: { done: 1, total: 42 } },
      { step: "kernel", count: undefined },
    ]);
  }
});

test("within a step it speaks at most once a second", () => {
  const seen: BuildProgress[] = [];
  const report = new ProgressReport((at) => seen.push(at));
  for (let done = 1; done <= 500; done++) report.at("unpack packages", { done, total: 500 });
  expect(seen.length).toBeLessThanOrEqual(2);
});

test("a line shows time, step and count", () => {
  expect(formatProgress({ step: "unpack packages", elapsedMs: 41_700, count: { done: 120, total: 437 } })).toBe(
    "  42 s  unpack packages 120/437",
  );
  expect(formatProgress({ step: "kernel", elapsedMs: 0, count: undefined })).toBe("   0 s  kernel");
});

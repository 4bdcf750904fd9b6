import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { inventory, whatIsNew } from "../testing/inventory.ts";
import { type Runner, runners } from "../testing/runners.ts";
import type { Tally } from "../testing/tally.ts";

/** `script/test [<runner or group>…]`: runs all, or those named; the last line counts. */

/** Processes that have been told to end have this long. */
const leakPatienceMs = 5000;

const total = { passed: 0, failed: 0 };
const failures: string[] = [];

const chosen = chooseRunners(process.argv.slice(2));
const runDirectory = mkdtempSync(join(tmpdir(), "instavm-test-"));
process.env["TMPDIR"] = runDirectory;
const before = inventory(runDirectory);
for (const runner of chosen) await runAndCount(runner);
await countLeaks();
rmSync(runDirectory, { recursive: true, force: true });

if (failures.length > 0) console.log(`\nfailed: ${failures.join(", ")}`);
console.log(`${String(total.passed)} passed, ${String(total.failed)} failed`);
process.exitCode = total.failed === 0 ? 0 : 1;

function chooseRunners(wanted: readonly string[]): readonly Runner[] {
  const isNamed = (runner: Runner, name: string): boolean => runner.name === name || runner.group === name;
  const unknown = wanted.filter((name) => !runners.some((runner) => isNamed(runner, name)));
  if (unknown.length > 0) {
    const names = [...new Set(runners.flatMap((runner) => [runner.name, runner.group]))];
    console.error(`error: no runner is called ${unknown.join(", ")}; expected one of ${names.join(", ")}.`);
    process.exit(2);
  }
  return runners.filter((runner) => wanted.length === 0 || wanted.some((name) => isNamed(runner, name)));
}

async function runAndCount(runner: Runner): Promise<void> {
  console.log(`→ ${runner.name}`);
  const started = performance.now();
  const tally = await runner.run();
  add(runner.name, tally);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const mark = tally.failed === 0 ? "✓" : "✗";
  console.log(`${mark} ${runner.name}: ${String(tally.passed)} passed, ${String(tally.failed)} failed, ${seconds} s`);
}

/** Nothing may be left of the tests: what runs or lies around now and did not before is a failure. */
async function countLeaks(): Promise<void> {
  const deadline = performance.now() + leakPatienceMs;
  let left = whatIsNew(before, inventory(runDirectory));
  while (left.length > 0 && performance.now() < deadline) {
    await sleep(200);
    left = whatIsNew(before, inventory(runDirectory));
  }
  for (const item of left) console.log(`left behind: ${item}`);
  add("leaks", left.length === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 });
  console.log(`${left.length === 0 ? "✓" : "✗"} leaks: ${String(left.length)} things left behind`);
}

function add(name: string, tally: Tally): void {
  total.passed += tally.passed;
  total.failed += tally.failed;
  if (tally.failed > 0) failures.push(name);
}

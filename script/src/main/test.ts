import { setTimeout as sleep } from "node:timers/promises";
import { inventory, whatIsNew } from "../testing/inventory.ts";
import { type Runner, runners } from "../testing/runners.ts";
import type { Tally } from "../testing/tally.ts";

/** `script/test [<runner or group>…]`: runs all, or those named; the last line counts. */
/** Processes that have been told to end have this long. */
const leakPatienceMs = 5000;

const wanted = process.argv.slice(2);
const chosen = runners.filter(
  (runner) => wanted.length === 0 || wanted.includes(runner.name) || wanted.includes(runner.group),
);
const unknown = wanted.filter((name) => !runners.some((runner) => runner.name === name || runner.group === name));
if (unknown.length > 0) {
  const names = [...new Set(runners.flatMap((runner) => [runner.name, runner.group]))];
  console.error(`error: no runner is called ${unknown.join(", ")}; expected one of ${names.join(", ")}.`);
  process.exit(2);
}

const before = inventory();
const total = { passed: 0, failed: 0 };
const failures: string[] = [];
for (const runner of chosen) await runAndCount(runner);
await countLeaks();

if (failures.length > 0) console.log(`\nfailed: ${failures.join(", ")}`);
console.log(`${String(total.passed)} passed, ${String(total.failed)} failed`);
process.exitCode = total.failed === 0 ? 0 : 1;

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
  let left = whatIsNew(before, inventory());
  while (left.length > 0 && performance.now() < deadline) {
    await sleep(200);
    left = whatIsNew(before, inventory());
  }
  for (const item of left) console.log(`left behind: ${item}`);
  const tally = left.length === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
  add("leaks", tally);
  console.log(`${left.length === 0 ? "✓" : "✗"} leaks: ${String(left.length)} things left behind`);
}

function add(name: string, tally: Tally): void {
  total.passed += tally.passed;
  total.failed += tally.failed;
  if (tally.failed > 0) failures.push(name);
}

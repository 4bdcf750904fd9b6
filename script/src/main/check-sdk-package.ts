import { buildSdkPackage, packageDirectory } from "../sdk-package/build.ts";
import { runProgram } from "../testing/run-program.ts";

/** What looks at the package as those who install it would see it. */
const checks: readonly (readonly string[])[] = [
  ["publint", "run", packageDirectory, "--strict", "--pack", "npm"],
  ["attw", "--pack", packageDirectory, "--profile", "esm-only", "--no-definitely-typed", "--no-emoji", "--no-color"],
  ...["index", "node"].map((name) => ["node", "--input-type=module", "--eval", `await import(${moduleText(name)})`]),
];

function moduleText(name: string): string {
  return JSON.stringify(`${packageDirectory}/dist/${name}.js`);
}

await buildSdkPackage();
for (const argv of checks) {
  const end = await runProgram(argv);
  if (end.exitCode === 0) continue;
  process.stdout.write(`${argv.join(" ")}\n${end.output}`);
  process.exitCode = 1;
}

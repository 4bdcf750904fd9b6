import { buildSdkPackage, packageDirectory } from "../sdk-package/build.ts";
import { runProgram } from "../testing/run-program.ts";

/** What looks at the package as those who install it would see it. */
const checks: readonly (readonly string[])[] = [
  ["publint", "run", packageDirectory, "--strict", "--pack", "npm"],
  ["attw", "--pack", packageDirectory, "--profile", "esm-only", "--no-definitely-typed", "--no-emoji", "--no-color"],
  ["node", "--input-type=module", "--eval", `await import(${JSON.stringify(`${packageDirectory}/dist/index.js`)})`],
];

await buildSdkPackage();
for (const argv of checks) {
  const end = await runProgram(argv);
  if (end.exitCode === 0) continue;
  process.stdout.write(`${argv.join(" ")}\n${end.output}`);
  process.exitCode = 1;
}

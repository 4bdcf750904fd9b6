import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { rootDirectory } from "../src/sources.ts";

/** One file per rule that the code relies on: a linter that looks at nothing finds nothing. */
const offences: Readonly<Record<string, string>> = {
  "no-explicit-any": "export const value: any = 1;",
  "no-non-null-assertion": "export const first = (list: string[]): string => list[0]!;",
  "no-floating-promises": "export const start = (): void => {\n  Promise.resolve(1);\n};",
  "no-misused-promises": "export const wrong = (): void => [1].forEach(async () => await Promise.resolve());",
  "switch-exhaustiveness-check":
    'export function name(side: "left" | "right"): string {\n  switch (side) {\n    case "left":\n      return "l";\n  }\n  return "";\n}',
  "max-params": "export const sum = (a: number, b: number, c: number, d: number): number => a + b + c + d;",
  "no-unsafe-type-assertion": "export const cast = (value: unknown): string => value as string;",
  "no-console": 'console.log("said");',
};

const project = mkdtempSync(join(tmpdir(), "instavm-lint-"));
let report = "";

beforeAll(() => {
  writeFileSync(
    join(project, "tsconfig.json"),
    JSON.stringify({ compilerOptions: { strict: true, target: "es2024" } }),
  );
  for (const [rule, text] of Object.entries(offences)) writeFileSync(join(project, `${rule}.ts`), `${text}\n`);
  writeFileSync(join(project, "cycle-a.ts"), 'import type { B } from "./cycle-b.ts";\nexport type A = B | 1;\n');
  writeFileSync(join(project, "cycle-b.ts"), 'import type { A } from "./cycle-a.ts";\nexport type B = A[];\n');
  const config = join(rootDirectory, ".oxlintrc.json");
  const run = spawnSync("oxlint", ["--type-aware", "--format", "unix", "-c", config, "."], {
    cwd: project,
    encoding: "utf8",
    timeout: 60_000,
  });
  report = run.stdout + run.stderr;
});

afterAll(() => {
  rmSync(project, { recursive: true, force: true });
});

test.each(Object.keys(offences))("the linter finds an offence against %s", (rule) => {
  const lines = report.split("\n").filter((line) => line.includes(`${rule}.ts:`));
  expect(lines.join("\n")).toContain(`(${rule})`);
});

test("the linter finds a cycle that consists of types only", () => {
  expect(report).toContain("(no-cycle)");
});

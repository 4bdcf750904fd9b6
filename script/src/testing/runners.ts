import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runProgram } from "./run-program.ts";
import { type Tally, tallyOfCargo, tallyOfCheck, tallyOfUnittest, tallyOfVitest } from "./tally.ts";

/** One program that checks or tests something and can be counted. */
export interface Runner {
  /** What a person types to run only this one. */
  readonly name: string;
  /** `static` looks at the text; `quick` runs without VMs; `vm` with them. */
  readonly group: "static" | "quick" | "vm";
  run(): Promise<Tally>;
}

/** The folders that hold TypeScript; the linter must be given them. */
const typescriptFolders = ["packages", "apps", "sdk", "bench", "e2e", "script"];

/** Everything that `script/test` runs, quick ones first. */
export const runners: readonly Runner[] = [
  check("types", ["tsc", "-b"]),
  check("lint", ["oxlint", "--type-aware", "--deny-warnings", ...typescriptFolders]),
  check("format", ["oxfmt", "--check"]),
  check("sdk-package", ["node", "script/src/main/check-sdk-package.ts"]),
  check("unused", ["knip", "--no-config-hints"]),
  check("protocol-lint", ["buf", "lint", "protocol"]),
  check("rust-format", ["cargo", "fmt", "--check"]),
  check("rust-lint", ["cargo", "clippy", "--locked", "--all-targets", "--quiet", "--", "-D", "warnings"]),
  vitest("checks", "static"),
  vitest("unit", "quick"),
  {
    name: "rust",
    group: "quick",
    run: async () => tallyOfCargo(await runProgram(["cargo", "test", "--locked"], true)),
  },
  ...["python", "javascript", "bash"].map(driver),
  {
    name: "python-sdk",
    group: "quick",
    run: async () => tallyOfUnittest(await runProgram([".build/python/bin/python", "-B", "sdk/python/tests"], true)),
  },
  vitest("integration", "vm"),
  vitest("e2e", "vm"),
];

/** The tests beside the driver of an interpreter. */
function driver(name: string): Runner {
  return {
    name,
    group: "quick",
    run: async () =>
      tallyOfUnittest(await runProgram(["python3", "-B", `guest/interpreters/${name}/test_driver.py`], true)),
  };
}

function check(name: string, argv: readonly string[]): Runner {
  return {
    name,
    group: "static",
    run: async () => {
      const end = await runProgram(argv);
      if (end.exitCode !== 0) process.stdout.write(end.output);
      return tallyOfCheck(end);
    },
  };
}

function vitest(project: string, group: Runner["group"]): Runner {
  return {
    name: project,
    group,
    run: async () => {
      const directory = mkdtempSync(join(tmpdir(), "instavm-test-report-"));
      try {
        const reportPath = join(directory, "report.json");
        const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${reportPath}`];
        const end = await runProgram(["vitest", "run", "--project", project, ...reporters], true);
        const report: unknown = existsSync(reportPath) ? JSON.parse(readFileSync(reportPath, "utf8")) : undefined;
        return tallyOfVitest(report, end);
      } finally {
        rmSync(directory, { recursive: true, force: true });
      }
    },
  };
}

import { statSync } from "node:fs";
import { join } from "node:path";
import { errorTable } from "@instavm/contract";
import { expect, test } from "vitest";
import { isProductCode, repositoryFiles, repositoryPaths, rootDirectory, withoutComments } from "../src/sources.ts";

const thisFile = "script/checks/repository.test.ts";
const productCode = repositoryFiles(isProductCode);

/** `path:line text` of every line of the code, comments left out, that matches. */
function linesMatching(pattern: RegExp, files = productCode): readonly string[] {
  return files.flatMap((file) =>
    withoutComments(file.text)
      .split("\n")
      .flatMap((line, index) => (pattern.test(line) ? [`${file.path}:${String(index + 1)} ${line.trim()}`] : [])),
  );
}

test("product code raises no bare Error", () => {
  expect(productCode.length).toBeGreaterThan(20);
  expect(linesMatching(/\bnew (Error|TypeError|RangeError)\(/)).toEqual([]);
});

test("nothing silences the compiler or the linter", () => {
  const everySource = repositoryFiles((path) => path.endsWith(".ts") && path !== thisFile);
  const directive = /(\/\/|\/\*)\s*(@ts-(ignore|expect-error|nocheck)|(oxlint|eslint)-disable)/;
  expect(everySource.filter((file) => directive.test(file.text)).map((file) => file.path)).toEqual([]);
  expect(linesMatching(/\bas (unknown as|any\b|never\b)/, everySource)).toEqual([]);
});

test("every error code of the table is raised somewhere", () => {
  const elsewhere = productCode.filter((file) => file.path !== "packages/contract/src/errors.ts");
  const text = elsewhere.map((file) => withoutComments(file.text)).join("\n");
  expect(Object.keys(errorTable).filter((code) => !text.includes(`"${code}"`))).toEqual([]);
});

test("no file says only that it holds things", () => {
  const vague = /(^|\/)(utils?|shared|common|helpers?|types|managers?|misc)(\/|\.[a-z.]+$)/;
  expect(repositoryPaths().filter((path) => vague.test(path))).toEqual([]);
});

test("temporary files carry the project's name, so that a leak can be found", () => {
  const callers = linesMatching(
    /\bmkdtemp(Sync)?\(.*\btmpdir\(/,
    repositoryFiles((path) => path.endsWith(".ts")),
  );
  expect(callers.length).toBeGreaterThan(3);
  expect(callers.filter((line) => !line.includes("instavm-"))).toEqual([]);
});

test("no file is larger than 1 MiB", () => {
  const large = repositoryPaths().filter((path) => statSync(join(rootDirectory, path)).size > 1024 * 1024);
  expect(large).toEqual([]);
});

test("no text names a machine's own paths or package hosts", () => {
  const foreign = /\/work\/(main|shared)|\/tmp\/w\/|npm_config_registry|registry\.npmjs|pypi\.org/;
  const lockedElsewhere =
    /^\s*(tarball|resolved):|^source = "(?!registry\+https:\/\/github\.com\/rust-lang\/crates\.io-index")/m;
  const isLock = (path: string): boolean => path === "Cargo.lock" || path === "pnpm-lock.yaml";
  const named = repositoryFiles((path) => path !== thisFile)
    .filter((file) => foreign.test(file.text) || (isLock(file.path) && lockedElsewhere.test(file.text)))
    .map((file) => file.path);
  expect(named).toEqual([]);
});

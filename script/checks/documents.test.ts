import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { isTestCode, repositoryFiles, rootDirectory } from "../src/sources.ts";
import { runners } from "../src/testing/runners.ts";

const documents = repositoryFiles((path) => path.endsWith(".md"));
/** All that can define a flag or a variable. */
const programs = repositoryFiles(
  (path) =>
    /^(apps|packages|guest|launcher|script|bin|bench)\//.test(path) && !/\.(md|json)$/.test(path) && !isTestCode(path),
)
  .map((file) => file.text)
  .join("\n");

/** What makes a test longer, say. */
const tests = repositoryFiles((path) => isTestCode(path) || path.startsWith("e2e/"))
  .map((file) => file.text)
  .join("\n");

/** `document: finding` for each text that the pattern finds and `isTrue` rejects. */
function untrue(pattern: RegExp, isTrue: (found: string, document: string) => boolean): readonly string[] {
  return documents.flatMap((document) =>
    [...document.text.matchAll(pattern)]
      .map((match) => match[1] ?? match[0])
      .filter((found) => !isTrue(found, document.path))
      .map((found) => `${document.path}: ${found}`),
  );
}

test("there are documents to look at", () => {
  expect(documents.map((document) => document.path)).toEqual(
    expect.arrayContaining(["ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "README.md", "SECURITY.md"]),
  );
});

test("every link to a file leads somewhere", () => {
  const link = /\]\((?!https?:|#)([^)#\s]+)/g;
  expect(untrue(link, (target, document) => existsSync(join(rootDirectory, dirname(document), target)))).toEqual([]);
});

test("every path of the repository that is named exists", () => {
  const path =
    /(?<![\w./<-])((?:apps|packages|sdk|guest|launcher|protocol|e2e|bench|docs|script|bin|\.ci)\/[\w./-]*\w)/g;
  const isPlaceholder = (found: string): boolean => /NNN|foo/.test(found);
  // From the root, or from the document's own folder.
  const exists = (found: string, document: string): boolean =>
    isPlaceholder(found) ||
    existsSync(join(rootDirectory, found)) ||
    existsSync(join(rootDirectory, dirname(document), found));
  expect(untrue(path, exists)).toEqual([]);
});

test("every flag that a document passes to one of our programs exists", () => {
  const commandLine = /^.*(?:bin\/instavm|\binstavm |script\/).*$/gm;
  const flags = documents.flatMap((document) =>
    [...document.text.matchAll(commandLine)].flatMap(([line]) =>
      [...line.matchAll(/(?<![\w-])--[a-z][a-z-]*/g)].map(([flag]) => ({ document: document.path, flag })),
    ),
  );
  expect(flags.length).toBeGreaterThan(3);
  // As the CLI declares it (`--code <`), as parseArgs does (`"state-dir"`), or as a script's `case` does.
  const isDeclared = (flag: string): boolean => programs.includes(flag) || programs.includes(`"${flag.slice(2)}"`);
  expect(flags.filter(({ flag }) => !isDeclared(flag))).toEqual([]);
});

test("every environment variable that is named is read", () => {
  expect(untrue(/\bINSTAVM_[A-Z_]+\b/g, (name) => programs.includes(name) || tests.includes(`env["${name}"]`))).toEqual(
    [],
  );
});

test("every name given to script/test is one that it knows", () => {
  const known = new Set(runners.flatMap((runner) => [runner.name, runner.group]));
  const given = /script\/test ((?:[a-z-]+ ?)+)`/g;
  expect(
    untrue(given, (names) =>
      names
        .trim()
        .split(" ")
        .every((name) => known.has(name)),
    ),
  ).toEqual([]);
});

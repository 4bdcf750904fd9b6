import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { commandTree } from "./command-tree.ts";
import { makeProgram } from "./program.ts";
import { commandReference } from "./reference.ts";

const program = makeProgram(new AbortController().signal).command;

test("docs/cli.md says what the program says; `node apps/cli/src/write-reference.ts` writes it", () => {
  const written = readFileSync(new URL("../../../docs/cli.md", import.meta.url), "utf8");
  expect(written).toBe(commandReference(program));
});

test("every command that does something has an example", () => {
  const reference = commandReference(program);
  const passedOn = ["server", "doctor", "image build"];
  const leaves = commandTree(program)
    .filter(({ command }) => command.commands.length === 0)
    .map(({ path }) => path.join(" "))
    .filter((path) => !passedOn.includes(path));
  const without = leaves.filter((path) => {
    const section = reference.split(`### instavm ${path}\n`)[1]?.split("\n### ")[0] ?? "";
    return !section.includes("Examples:\n  $ ");
  });
  expect(without).toEqual([]);
});

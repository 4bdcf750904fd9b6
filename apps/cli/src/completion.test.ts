import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { commandTree } from "./command-tree.ts";
import { completionScript } from "./completion-scripts.ts";
import { makeProgram } from "./program.ts";

const program = makeProgram(new AbortController().signal).command;

/** What Bash offers for the last of these words. */
async function offered(...words: readonly string[]): Promise<readonly string[]> {
  const line = `source /dev/stdin <<'SCRIPT'
${completionScript(program, "bash")}
SCRIPT
COMP_WORDS=(instavm ${words.map((word) => `'${word}'`).join(" ")})
COMP_CWORD=${String(words.length)}
_instavm
printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout } = await promisify(execFile)("bash", ["--norc", "-c", line], { cwd: import.meta.dirname });
  return stdout.split("\n").filter((text) => text !== "");
}

test("Bash completes commands, those below them, their aliases and their options", async () => {
  expect(await offered("exe")).toEqual(["execute", "exec"]);
  expect(await offered("auth", "s")).toEqual(["set-key", "status"]);
  expect(await offered("completion", "")).toEqual(["bash", "zsh", "fish", "-h", "--help"]);
  expect(await offered("vms", "up")).toEqual(["update"]);
  expect(await offered("vms", "update", "--na")).toEqual(["--name"]);
  expect(await offered("exec", "--api-key", "k", "--la")).toEqual(["--language"]);
});

test("Bash completes file names where a file can stand", async () => {
  expect(await offered("cp", "completion-s")).toEqual(["completion-scripts.ts"]);
});

test.each(["bash", "zsh", "fish"] as const)("the script for %s knows every command", (shell) => {
  const script = completionScript(program, shell);
  for (const { path } of commandTree(program).slice(1)) expect(script).toContain(`"${path.join(" ")}"`);
  expect(script).toContain("--poll-interval");
});

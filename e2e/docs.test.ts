import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { GuideReader } from "./support/guide-reader.ts";
import { RealServer } from "./support/real-server.ts";
import { repository } from "./support/shell-user.ts";
import { isAsShown } from "./support/shown-output.ts";
import { snippetsOf } from "./support/snippets.ts";
import type { Snippet } from "./support/snippets.ts";
import { typeErrors } from "./support/type-check.ts";

/** The slowest machine under load; some seconds on a quiet one. */
const pageWithin = { timeout: 400_000 };

/** The README and every page under docs/, by path. */
const pages: ReadonlyMap<string, readonly Snippet[]> = new Map(
  ["README.md", ...markdownIn("docs")].map((path) => [path, snippetsOf(readFileSync(join(repository, path), "utf8"))]),
);

function markdownIn(directory: string): readonly string[] {
  const names = readdirSync(join(repository, directory), { recursive: true, encoding: "utf8" });
  return names
    .filter((name) => name.endsWith(".md"))
    .map((name) => join(directory, name))
    .toSorted();
}

describe("pages", () => {
  test("leave nothing unrun but what installs packages and starts a server", () => {
    const unrun = [...pages].flatMap(([path, snippets]) =>
      snippets.filter(({ isRun }) => !isRun).map(({ code }) => `${path}: ${code.split("\n", 1).join("")}`),
    );
    expect(unrun).toEqual([
      expect.stringMatching(/^README\.md: script\/quickstart /),
      expect.stringMatching(/^README\.md: script\/server /),
      "docs/guides/published-client.md: pip install instavm==0.26.1",
      "docs/guides/python.md: pip install ./sdk/python",
      "docs/guides/quickstart.md: script/quickstart",
      "docs/guides/quickstart.md: pip install ./sdk/python",
      "docs/guides/typescript.md: script/test sdk-package",
    ]);
  });

  test("have snippets, and a good part of them show what they print", () => {
    const run = [...pages.values()].flat().filter(({ isRun }) => isRun);
    expect(run.length).toBeGreaterThan(40);
    expect(run.filter(({ output }) => output !== undefined).length).toBeGreaterThan(run.length / 2);
  });

  test("show TypeScript that the compiler accepts", async () => {
    const modules = [...pages.values()].flat().filter(({ kind }) => kind === "ts");
    expect(modules.length).toBeGreaterThan(5);
    expect(await typeErrors(modules.map(({ code }) => code))).toBe("");
    expect(await typeErrors(['import { Sandbox } from "instavm";\nSandbox.create({ cpus: 4 });\n'])).toContain(
      "TS2353",
    );
  });

  test("are read block by block", () => {
    const markdown = "```sh\nls\n```\n\n```text\na\n```\n\nText.\n\n```text\nno output\n```\n```ts no-run\nx;\n```\n";
    expect(snippetsOf(markdown)).toEqual([
      { line: 1, kind: "sh", isRun: true, code: "ls\n", output: { kind: "text", text: "a\n" } },
      { line: 14, kind: "ts", isRun: false, code: "x;\n", output: undefined },
    ]);
    expect(() => snippetsOf("```shell\nls\n```\n")).toThrow('line 1: a block of the unknown kind "shell"');
    expect(() => snippetsOf("\n```sh\nls\n")).toThrow("line 2: the block never ends");
  });

  test.for([
    ["text", "a … c\n", "a b c\n", true],
    ["text", "a (1)\n…\nz\n", "a (1)\nb\nc\nz\n", true],
    ["text", "a … c\n", "a b\nc\n", false],
    ["text", "a\n", "a\nb\n", false],
    ["text", "a.c\n", "abc\n", false],
    ["json", '{"a": 1, "b": "…"}', '{"b":[2],"a":1}\n', true],
    ["json", '{"a": 1, "b": "…"}', '{"a":1}', false],
    ["json", '{"a": 1}', '{"a":1,"b":2}', false],
    ["json", '[{"a": "…"}]', '[{"a":null}]', true],
    ["json", '["a…", "b"]', '["an id", "b"]', true],
    ["json", '["a"]', '["a\\n"]', false],
    ["json", '{"a": 1}', "no json", false],
  ] as const)("compare %s %j with %j: %j", ([kind, text, stdout, isSame]) => {
    expect(isAsShown({ kind, text }, stdout)).toBe(isSame);
  });
});

describe("snippets run, and print what their page shows", () => {
  let server: RealServer;

  beforeAll(async () => {
    server = await RealServer.start({ poolSize: 1 });
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
  });

  test.for([...pages].filter(([, snippets]) => snippets.length > 0))("%s", pageWithin, async ([path, snippets]) => {
    await using reader = await GuideReader.open(server);
    for (const { line, kind, code, output } of snippets.filter(({ isRun }) => isRun)) {
      const end = await reader.follows({ kind, code });
      const place = `${path}:${String(line)}\n${code}\n${end.stdout}\n${end.stderr}`;
      expect(end, place).toMatchObject({ exitCode: 0 });
      if (output !== undefined && !isAsShown(output, end.stdout)) expect(end.stdout, place).toBe(output.text);
    }
  });
});

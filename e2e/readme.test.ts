import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { RealServer } from "./support/real-server.ts";
import { ShellUser, repository } from "./support/shell-user.ts";

let server: RealServer;

beforeAll(async () => {
  server = await RealServer.start({ poolSize: 1 });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

/** The code blocks of the README's chapter "Use", with this test's server in place of the default one. */
function snippets(language: string): readonly string[] {
  const readme = readFileSync(join(repository, "README.md"), "utf8");
  const chapter = readme.split(/^## /m).find((text) => text.startsWith("Use\n")) ?? "";
  return [...chapter.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)]
    .filter(([, found]) => found === language)
    .map(([, , code = ""]) =>
      code.replaceAll("http://127.0.0.1:8222", server.baseUrl).replaceAll("/var/lib/instavm", server.stateDirectory),
    );
}

test("the README's command lines print what they promise", async () => {
  using user = new ShellUser(server);
  const [commandLine = "", http = ""] = snippets("sh");
  const typed = await user.types(`set -e\n${commandLine}`);
  expect(typed).toMatchObject({
    exitCode: 0,
    stdout: expect.stringMatching(/^42\n43\n\d+\.\d+.*\n2\nfrom a file or a pipe\n$/),
  });
  const called = await user.types(`set -e\n${http}`);
  expect(called.exitCode).toBe(0);
  expect(called.stdout).toContain('"stdout":"42\\n"');
  expect(called.stdout).toContain('"status":"killed"');
});

test("the README's TypeScript runs against a server", async () => {
  using user = new ShellUser(server);
  const directory = mkdtempSync(join(tmpdir(), "instavm-readme-"));
  try {
    const [code = ""] = snippets("ts");
    mkdirSync(join(directory, "node_modules"));
    symlinkSync(join(repository, "sdk/typescript"), join(directory, "node_modules/instavm"));
    const adapted = code.replace(/new InstaVm\(\{/, `new InstaVm({ baseUrl: "${server.baseUrl}",`);
    writeFileSync(join(directory, "package.json"), '{ "type": "module" }');
    writeFileSync(join(directory, "taste.ts"), adapted);
    const ran = await user.types(`node ${directory}/taste.ts`);
    expect(ran).toMatchObject({ exitCode: 0, stdout: "12.566370614359172\n 0\n" });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeResource } from "@instavm/process";
import { describe, expect, it } from "vitest";
import { openStateDirectory } from "./state-directory.ts";

async function emptyDirectory(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "instavm-state-"));
  return makeResource({ path }, async () => rm(path, { recursive: true }));
}

describe("a state directory", () => {
  it("is made for its owner alone", async () => {
    await using parent = await emptyDirectory();
    using state = await openStateDirectory(join(parent.path, "a/b"));
    expect((await stat(state.path)).mode & 0o777).toBe(0o700);
    expect((await stat(join(state.path, "server.lock"))).isFile()).toBe(true);
  });

  it("belongs to one server, until that one lets go", async () => {
    await using parent = await emptyDirectory();
    {
      using _first = await openStateDirectory(parent.path);
      await expect(openStateDirectory(parent.path)).rejects.toMatchObject({
        code: "conflict",
        message: `Another server uses the state directory ${parent.path}.`,
      });
    }
    using again = await openStateDirectory(parent.path);
    expect(again.path).toBe(parent.path);
  });

  it("is free again after its server was killed", async () => {
    await using parent = await emptyDirectory();
    const module = new URL("state-directory.ts", import.meta.url).href;
    const program = `const { openStateDirectory } = await import(${JSON.stringify(module)});
      const state = await openStateDirectory(${JSON.stringify(parent.path)});
      console.log("locked"); setInterval(() => state, 1000);`;
    const server = spawn(process.execPath, ["--input-type=module", "-e", program], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const exited = once(server, "exit");
    try {
      await once(server.stdout, "data");
      await expect(openStateDirectory(parent.path)).rejects.toMatchObject({ code: "conflict" });
    } finally {
      server.kill("SIGKILL");
      await exited;
    }
    using state = await openStateDirectory(parent.path);
    expect(state.path).toBe(parent.path);
  });

  it("that cannot be made is one sentence with the remedy", async () => {
    await expect(openStateDirectory("/etc/passwd/instavm")).rejects.toMatchObject({
      code: "host_setup",
      message: expect.stringContaining("/etc/passwd/instavm cannot be made"),
      next: expect.stringContaining("--state-dir"),
    });
  });
});

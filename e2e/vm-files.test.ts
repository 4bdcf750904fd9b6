import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { RealServer } from "./support/real-server.ts";
import { TestSession } from "./support/test-session.ts";
import { processesOf } from "./support/traces.ts";

const mib = 1024 * 1024;

let server: RealServer;

beforeAll(async () => {
  server = await RealServer.start();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

/** The files of one session's VM, as HTTP shows them. */
class VmFiles implements AsyncDisposable {
  readonly session: TestSession;

  constructor(session: TestSession) {
    this.session = session;
  }

  static async open(): Promise<VmFiles> {
    return new VmFiles(await TestSession.open(server));
  }

  async call(rest: string, query: Readonly<Record<string, string>>, init: RequestInit = {}): Promise<Response> {
    const headers = { "x-api-key": server.apiKey, ...Object.fromEntries(new Headers(init.headers)) };
    const url = `${server.baseUrl}/v1/vms/${String(this.session.vmId)}/files${rest}?${String(new URLSearchParams(query))}`;
    return await fetch(url, { signal: AbortSignal.timeout(170_000), ...init, headers });
  }

  async json(rest: string, query: Readonly<Record<string, string>>, init: RequestInit = {}): Promise<unknown> {
    return await (await this.call(rest, query, init)).json();
  }

  async put(path: string, body: Uint8Array<ArrayBuffer> | string, query: Readonly<Record<string, string>> = {}) {
    return await this.json("", { path, ...query }, { method: "PUT", body });
  }

  async post(rest: string, body: unknown): Promise<unknown> {
    const headers = { "content-type": "application/json" };
    return await this.json(rest, {}, { method: "POST", body: JSON.stringify(body), headers });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.session[Symbol.asyncDispose]();
  }
}

test("bytes come back as they were, whole and in parts, under any name", async () => {
  await using files = await VmFiles.open();
  for (const path of ["/srv/a b", "/srv/-rf", "/srv/ü\n€", "/srv/deep/er/x", "rel.txt", "/srv/%2e%2e"]) {
    expect(await files.put(path, `content of ${path}`)).toMatchObject({
      size: Buffer.byteLength(`content of ${path}`),
    });
    expect(await (await files.call("", { path })).text()).toBe(`content of ${path}`);
  }
  expect((await files.session.bash("cat rel.txt; cat /srv/-rf")).stdout).toBe("content of rel.txtcontent of /srv/-rf");
  await files.put("/srv/r", "0123456789");
  const part = await files.call("", { path: "/srv/r" }, { headers: { range: "bytes=-3" } });
  expect([part.status, part.headers.get("content-range"), await part.text()]).toEqual([206, "bytes 7-9/10", "789"]);
  const middle = await files.call("", { path: "/srv/r" }, { headers: { range: "bytes=2-4" } });
  expect([middle.status, await middle.text()]).toEqual([206, "234"]);
  expect((await files.call("", { path: "/srv/r" }, { headers: { range: "bytes=10-" } })).status).toBe(416);
  const head = await files.call("", { path: "/srv/r" }, { method: "HEAD" });
  expect([head.status, head.headers.get("content-length")]).toEqual([200, "10"]);
  expect(await (await files.call("", { path: "/proc/self/comm" })).text()).not.toBe("");
});

test("modes, owners and what is there already are heeded", async () => {
  await using files = await VmFiles.open();
  await files.put("/srv/f", "x", { mode: "0750", user: "nobody" });
  expect(await files.json("/stat", { path: "/srv/f" })).toMatchObject({
    mode: "0750",
    user: "nobody",
    type: "file",
    size: 1,
  });
  await files.put("/srv/f", "yy");
  expect(await files.json("/stat", { path: "/srv/f" })).toMatchObject({ mode: "0750", user: "nobody", size: 2 });
  expect(await files.put("/srv/f", "z", { must_be_new: "true" })).toMatchObject({ code: "conflict" });
  expect(
    await files.json(
      "",
      { path: "/srv/f" },
      {
        method: "PATCH",
        body: JSON.stringify({ mode: "0600", user: "root" }),
        headers: { "content-type": "application/json" },
      },
    ),
  ).toMatchObject({ mode: "0600", user: "root" });
  expect(await (await files.call("", { path: "/srv/f" })).text()).toBe("yy");
  expect((await files.call("", { path: "/srv" })).status).toBe(422);
  expect((await files.call("", { path: "/srv/none" })).status).toBe(404);
});

test("directories are made, listed in pages, moved and removed", async () => {
  await using files = await VmFiles.open();
  expect(await files.post("/mkdir", { path: "/srv/d/e", mode: "0700" })).toMatchObject({
    type: "directory",
    mode: "0700",
  });
  for (const name of ["a", "b", "c"]) await files.put(`/srv/d/${name}`, name);
  await files.session.bash("ln -s /etc/passwd /srv/d/link");
  const list = async (query: Readonly<Record<string, string>>) =>
    await files.json("/list", { path: "/srv/d", ...query });
  expect(await list({ limit: "2" })).toMatchObject({ entries: [{ name: "a" }, { name: "b" }], has_more: true });
  expect(await list({ after: "b" })).toMatchObject({
    entries: [
      { name: "c" },
      { name: "e", type: "directory" },
      { name: "link", type: "symlink", link_target: "/etc/passwd" },
    ],
    has_more: false,
  });
  expect(await files.post("/move", { from: "/srv/d/a", to: "/srv/new/a" })).toMatchObject({ name: "a" });
  expect(await files.post("/move", { from: "/srv/d/b", to: "/srv/new/a" })).toMatchObject({ code: "conflict" });
  expect(await files.post("/move", { from: "/srv/d/b", to: "/srv/new/a", overwrite: true })).toMatchObject({ size: 1 });
  expect(await (await files.call("", { path: "/srv/new/a" })).text()).toBe("b");
  const remove = async (query: Readonly<Record<string, string>>) => await files.json("", query, { method: "DELETE" });
  expect(await remove({ path: "/srv/d" })).toMatchObject({ code: expect.stringMatching(/conflict|invalid/) });
  expect(await remove({ path: "/srv/d", recursive: "true" })).toEqual({ removed: 4 });
  expect((await files.session.bash("test -e /etc/passwd && ! test -e /srv/d && echo ok")).stdout).toBe("ok\n");
});

test("a large file goes both ways in constant memory of the server", { timeout: 600_000 }, async () => {
  await using files = await VmFiles.open();
  // A fresh server's heap grows once, by some tens of MiB, before its garbage is first collected.
  await files.put("/srv/warm", new Uint8Array(32 * mib));
  await (await files.call("", { path: "/srv/warm" })).arrayBuffer();
  const piece = randomBytes(mib);
  const pieces = 256;
  const hash = createHash("sha256");
  for (let index = 0; index < pieces; index += 1) hash.update(piece);
  const digest = hash.digest("hex");
  const before = memoryMib(server);
  let peak = before;
  const watching = setInterval(() => (peak = Math.max(peak, memoryMib(server))), 50);
  const body = new ReadableStream({
    start: (controller) => {
      for (let index = 0; index < pieces; index += 1) controller.enqueue(piece);
      controller.close();
    },
  });
  const init = { method: "PUT", body, duplex: "half" } as const;
  expect(await files.json("", { path: "/srv/big" }, { ...init, signal: AbortSignal.timeout(280_000) })).toMatchObject({
    size: pieces * mib,
  });
  const back = createHash("sha256");
  const answer = await files.call("", { path: "/srv/big" }, { signal: AbortSignal.timeout(280_000) });
  const reader = answer.body?.getReader();
  for (let next = await reader?.read(); next?.value !== undefined; next = await reader?.read()) {
    expect(next.value).toBeInstanceOf(Uint8Array);
    if (next.value instanceof Uint8Array) back.update(next.value);
  }
  clearInterval(watching);
  expect(back.digest("hex")).toBe(digest);
  expect(peak - before).toBeLessThan(64);
});

test("trees go both ways as tar, and no entry leaves the directory", async () => {
  await using files = await VmFiles.open();
  await files.session.bash(
    "mkdir -p /srv/in/sub && echo one > /srv/in/a && ln -s /etc/passwd /srv/in/sub/link && chmod 700 /srv/in/a",
  );
  const tar = new Uint8Array(await (await files.call("/tar", { path: "/srv/in" })).arrayBuffer());
  const written = await files.json("/tar", { path: "/srv/out" }, { method: "PUT", body: tar });
  expect(written).toMatchObject({ size: 4, skipped: 0 });
  const seen = await files.session.bash("cd /srv/out && cat a && stat -c %a a && readlink sub/link");
  expect(seen.stdout).toBe("one\n700\n/etc/passwd\n");
  const made = await files.session.bash(
    "cd /tmp && echo evil > e && tar -P -cf /srv/evil.tar --transform 's,^e$,../../evil,' e",
  );
  expect(made.exitCode).toBe(0);
  const evil = new Uint8Array(await (await files.call("", { path: "/srv/evil.tar" })).arrayBuffer());
  expect(await files.json("/tar", { path: "/srv/deep/er" }, { method: "PUT", body: evil })).toMatchObject({
    code: "invalid",
  });
  expect((await files.call("/tar", { path: "/srv/none" })).status).toBe(404);
});

test("a watch tells what changes until its client leaves", async () => {
  await using files = await VmFiles.open();
  await files.session.bash("mkdir -p /srv/w/sub");
  const leaving = new AbortController();
  const answer = await files.call("/watch", { path: "/srv/w", recursive: "true" }, { signal: leaving.signal });
  expect(answer.headers.get("content-type")).toContain("text/event-stream");
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  const until = async (words: string): Promise<void> => {
    while (!text.includes(words)) text += (await reader?.read())?.value ?? "";
  };
  await until('"type":"ready"');
  await files.put("/srv/w/sub/f", "x");
  await until('"path":"sub/f"');
  await files.json("", { path: "/srv/w/sub/f" }, { method: "DELETE" });
  await until('{"type":"removed","path":"sub/f","is_directory":false}');
  leaving.abort();
  expect((await files.session.bash("echo ok")).stdout).toBe("ok\n");
});

test("a client that leaves in the middle leaves nothing behind, and the next one is served", async () => {
  await using files = await VmFiles.open();
  await files.put("/srv/f", "before");
  const leaving = new AbortController();
  const endless = new ReadableStream({
    pull: async (controller) => {
      await sleep(1);
      controller.enqueue(new Uint8Array(65_536));
    },
  });
  const init = { method: "PUT", body: endless, duplex: "half", signal: leaving.signal } as const;
  const upload = files.call("", { path: "/srv/f" }, init).catch((error: unknown) => error);
  await sleep(500);
  leaving.abort();
  await upload;
  for (let tries = 0; tries < 100; tries += 1) {
    if ((await files.session.bash("ls -A /srv")).stdout === "f\n") break;
    await sleep(100);
  }
  expect((await files.session.bash("ls -A /srv; cat /srv/f")).stdout).toBe("f\nbefore");
});

test("a VM's files are its key's own, and those of an ended VM are gone", async () => {
  await using files = await VmFiles.open();
  await files.put("/srv/f", "x");
  expect((await files.call("", { path: "/srv/f" }, { headers: { "x-api-key": "wrong" } })).status).toBe(401);
  const other = await TestSession.open(server);
  const gone = new VmFiles(other);
  await other[Symbol.asyncDispose]();
  const answer = await gone.call("", { path: "/srv/f" });
  expect([answer.status, await answer.json()]).toMatchObject([404, { code: "vm_not_found" }]);
});

/** Resident memory of the server's process now. */
function memoryMib(of: RealServer): number {
  const found = processesOf(of.stateDirectory).find(({ commandLine }) => commandLine.includes("main.ts serve"));
  const status = readFileSync(`/proc/${String(found?.pid)}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
}

import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openStream, streamEvents, textOf } from "./support/event-stream.ts";
import { PublishedClient } from "./support/published-client.ts";
import { rawCall } from "./support/raw-call.ts";
import { RealServer } from "./support/real-server.ts";
import { TestSession } from "./support/test-session.ts";
import { processesOf } from "./support/traces.ts";

const mib = 1024 * 1024;

let server: RealServer;
let published: PublishedClient;

beforeAll(async () => {
  server = await RealServer.start();
  published = await PublishedClient.install(server);
});
afterAll(async () => {
  published[Symbol.dispose]();
  await server[Symbol.asyncDispose]();
});

describe("the published client", () => {
  test("moves files both ways: empty ones, large ones, strange names", async () => {
    const seen = await published.python(`
import hashlib
c = InstaVM(key, base_url=url, timeout=600)
seen = []
big = os.urandom(20_000_000)
for name, content in {"a.txt": b"hello", "empty": b"", "big.bin": big, "-ü x'\\".txt": b"strange"}.items():
    open(name, "wb").write(content)
    up = c.upload_file(name, "/srv/new/deep/" + name)
    back = c.download_file("/srv/new/deep/" + name)
    saved = c.download_file("/srv/new/deep/" + name, local_path="saved")
    seen.append([up["status"], up["path"], up["size"], back["content"] == content, saved["size"], back["size"]])
digest = c.execute("sha256sum /srv/new/deep/big.bin | cut -d' ' -f1", language="bash")["stdout"].strip()
c.upload_file("a.txt", "relative.txt", recursive=True)
where = c.execute("pwd; cat relative.txt", language="bash")["stdout"]
errors = [error_of(lambda: c.download_file("/none")), error_of(lambda: c.download_file("/srv")), error_of(lambda: c.upload_file("a.txt", "/srv"))]
show([seen, digest == hashlib.sha256(big).hexdigest(), where, errors])
c.kill()`);
    const row = (name: string, size: number): unknown => ["success", `/srv/new/deep/${name}`, size, true, size, size];
    expect(seen).toEqual([
      [row("a.txt", 5), row("empty", 0), row("big.bin", 20_000_000), row("-ü x'\".txt", 7)],
      true,
      expect.stringContaining("hello"),
      [
        ["InstaVMError", expect.stringContaining("404")],
        ["InstaVMError", expect.stringContaining("422")],
        ["InstaVMError", expect.stringContaining("422")],
      ],
    ]);
  });

  test("runs code in the background and polls for its result", async () => {
    const seen = await published.python(`
c = InstaVM(key, base_url=url, timeout=600)
task = c.execute_async("import sys, time; time.sleep(1); print('late'); print('err', file=sys.stderr)", language="python")
result = c.get_task_result(task["task_id"], poll_interval=1, timeout=60)
bash = c.get_task_result(c.execute_async("echo hi; exit 3", language="bash", timeout=30)["task_id"])
missing = error_of(lambda: c.get_task_result("8a6e0804-2bd0-4672-b79d-d97027f9071a", timeout=2))
show([task["task_id"], result, bash["stdout"], missing[0]])
c.kill()`);
    expect(seen).toEqual([
      expect.stringMatching(/^[0-9a-f-]{36}$/),
      {
        stdout: "late\n",
        stderr: "err\n",
        cpu_time: expect.any(Number),
        execution_time: expect.any(Number),
        created_at: expect.stringMatching(/Z$/),
      },
      "hi\n",
      "TimeoutError",
    ]);
  });
});

describe("an upload", () => {
  test("whose client vanishes leaves the file that was there, and nothing beside it", async () => {
    await using session = await TestSession.open(server);
    await session.bash("mkdir /srv/d && echo before > /srv/d/f");
    const { hostname, port } = new URL(server.baseUrl);
    const socket = connect(Number(port), hostname);
    const field = (name: string, value: string): string =>
      `--x\r\ncontent-disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`;
    const fields = field("remote_path", "/srv/d/f") + field("session_id", session.sessionId);
    const head = [
      "POST /upload HTTP/1.1",
      "host: x",
      `x-api-key: ${server.apiKey}`,
      "content-type: multipart/form-data; boundary=x",
      `content-length: ${String(100 * mib)}`,
    ];
    socket.on("error", () => undefined);
    socket.write(`${head.join("\r\n")}\r\n\r\n${fields}--x\r\n`);
    socket.write('content-disposition: form-data; name="file"; filename="f"\r\n\r\n');
    socket.write(Buffer.alloc(3 * mib, "x"));
    await until(
      async () => (await session.bash("du -s --apparent-size -B1 /srv/d | cut -f1")).stdout,
      (bytes) => Number(bytes) > mib,
    );
    socket.destroy();
    const seen = await until(
      async () => (await session.bash("cat /srv/d/f; ls -A /srv/d")).stdout,
      (text) => text === "before\nf\n",
    );
    expect(seen).toBe("before\nf\n");
  });
});

describe("streamed code", () => {
  test("is seen while it runs, with what it displays, and how it ended", async () => {
    await using session = await TestSession.open(server);
    const code = `
import sys, time
from IPython.display import display, HTML
print("first", flush=True)
time.sleep(0.2)
print("wrong", file=sys.stderr, flush=True)
display(HTML("<b>bold</b>"))
6 * 7`;
    const body = { session_id: session.sessionId, command: code, language: "python", timeout: 120 };
    const events = await streamEvents(server, body);
    expect([textOf(events, "stdout"), textOf(events, "stderr")]).toEqual(["first\n", "wrong\n"]);
    expect(events.filter(({ event }) => event === "result").map(({ data }) => data)).toEqual(
      expect.arrayContaining([
        { type: "text/html", data: "<b>bold</b>", display: 0, is_result: false },
        { type: "text/plain", data: "42", display: 1, is_result: true },
      ]),
    );
    expect(events.at(-1)).toMatchObject({ event: "exit", data: { exit_code: 0, success: true, language: "python" } });
    const failing = await streamEvents(server, { ...body, command: "1 / 0" });
    expect(failing.at(-1)).toMatchObject({
      event: "exit",
      data: { exit_code: 1, error: { name: "ZeroDivisionError", traceback: expect.stringContaining("1 / 0") } },
    });
  });

  test("has the same results and error in the plain answer", async () => {
    await using session = await TestSession.open(server);
    const run = async (command: string) => {
      const body = { session_id: session.sessionId, command, language: "python" };
      return (await rawCall(server, "/execute", { body })).body;
    };
    expect(await run("6 * 7")).toMatchObject({
      stdout: "42\n",
      error: null,
      results: [{ type: "text/plain", data: "42", display: 0, is_result: true }],
    });
    expect(await run("[][1]")).toMatchObject({ results: [], error: { name: "IndexError" }, exit_code: 1 });
    const png = await run(
      "from IPython.display import display, Image\ndisplay(Image(data=b'\\x89PNG\\r\\n', format='png'))",
    );
    expect(png).toMatchObject({
      results: expect.arrayContaining([expect.objectContaining({ type: "image/png", data: "iVBORw0K" })]),
    });
  });

  test(
    "is held back by a client that does not read: 200 MB cost the server no memory",
    { timeout: 400_000 },
    async () => {
      await using session = await TestSession.open(server);
      await session.python("print(1)");
      const before = memoryMib(server);
      const total = 200_000_000;
      const command = `head -c ${String(total)} /dev/zero | tr '\\0' x; echo done > /tmp/done`;
      const body = { session_id: session.sessionId, command, language: "bash", timeout: 300 };
      const stream = openStream(server, body);
      stream.pause();
      await sleep(8000);
      expect((await session.bash("cat /tmp/done")).exitCode).toBe(1);
      expect(memoryMib(server) - before).toBeLessThan(64);
      let received = 0;
      const whole = new Promise<void>((resolve, reject) => {
        stream.on("data", (data) => {
          received += data.length;
          if (data.includes("event: exit")) resolve();
        });
        stream.on("close", () => reject(new Error("the stream was cut")));
      });
      stream.resume();
      await whole;
      stream.destroy();
      expect(received).toBeGreaterThan(total);
      expect((await session.bash("cat /tmp/done")).stdout).toBe("done\n");
      expect(memoryMib(server) - before).toBeLessThan(128);
    },
  );

  test("ends when its client leaves, and the session goes on", async () => {
    await using session = await TestSession.open(server);
    await session.python("state = 7");
    const command = "while true; do echo tick >> /tmp/ticks; echo tick; sleep 0.1; done";
    const stream = openStream(server, { session_id: session.sessionId, command, language: "bash", timeout: 300 });
    await new Promise<void>((resolve) => stream.on("data", (data) => data.includes("tick") && resolve()));
    stream.destroy();
    const count = async (): Promise<string> => (await session.bash("wc -l < /tmp/ticks")).stdout;
    await until(
      async () => {
        const first = await count();
        await sleep(500);
        return [first, await count()];
      },
      ([first, second]) => first === second,
    );
    expect((await session.python("print(state)")).stdout).toBe("7\n");
  });
});

describe("code in the background", () => {
  test("keeps its result, and says `lost` when the server or its VM dies", { timeout: 300_000 }, async () => {
    await using own = await RealServer.start();
    const session = await own.client.createSession({ lifetimeS: 1200 });
    const start = async (command: string) => {
      const body = { session_id: session.sessionId, command, language: "bash", timeout: 600 };
      const answer = await rawCall(own, "/execute_async", { body });
      expect(answer).toMatchObject({ status: 200, body: { status: "running", is_complete: false } });
      return taskIdOf(answer.body);
    };
    const read = async (taskId: string) => (await rawCall(own, `/v1/executions/${taskId}`)).body;
    const done = await start("echo one; exit 3");
    const finished = await until(
      () => read(done),
      (body) => statusOf(body) !== "running",
    );
    expect(finished).toMatchObject({ status: "completed", exit_code: 3, serialized_stdout: "one\n", truncated: false });
    const long = await start("head -c 3000000 /dev/zero | tr '\\0' x");
    expect(
      await until(
        () => read(long),
        (body) => statusOf(body) !== "running",
      ),
    ).toMatchObject({ status: "completed", truncated: true, serialized_stdout: "x".repeat(mib) });
    const crashed = await start("sleep 600");
    await own.crash();
    await own.startAgain();
    expect(await read(done)).toEqual(finished);
    expect(await read(crashed)).toMatchObject({
      status: "lost",
      is_complete: true,
      exit_code: null,
      serialized_stderr: "lost: the server stopped while the code ran\n",
    });
    const stopped = await start("sleep 600");
    await own.stop();
    await own.startAgain();
    expect(await read(stopped)).toMatchObject({ status: "lost" });
    const orphan = await start("sleep 600");
    for (const pid of own.vmPids()) process.kill(pid, "SIGKILL");
    const lost = await until(
      () => read(orphan),
      (body) => statusOf(body) !== "running",
    );
    expect(lost).toMatchObject({ status: "lost", detail: expect.stringContaining("was lost") });
    const list = await rawCall(own, `/v1/executions?session_id=${session.sessionId}`);
    expect(list.body).toHaveLength(5);
  });
});

/** Reads again until it is so; at most a minute. Returns what was read last. */
async function until<T>(read: () => Promise<T>, isSo: (seen: T) => boolean): Promise<T> {
  const deadline = performance.now() + 60_000;
  for (;;) {
    const seen = await read();
    if (isSo(seen) || performance.now() > deadline) return seen;
    await sleep(100);
  }
}

function fieldOf(body: unknown, name: string): unknown {
  return typeof body === "object" && body !== null
    ? Object.entries(body).find(([key]) => key === name)?.[1]
    : undefined;
}

function statusOf(body: unknown): unknown {
  return fieldOf(body, "status");
}

function taskIdOf(body: unknown): string {
  return String(fieldOf(body, "task_id"));
}

/** Resident memory of the server's process now. */
function memoryMib(of: RealServer): number {
  const found = processesOf(of.stateDirectory).find(({ commandLine }) => commandLine.includes("main.ts serve"));
  const status = readFileSync(`/proc/${String(found?.pid)}/status`, "utf8");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
}

import { setTimeout as delay } from "node:timers/promises";
import type { OutputCall, RunCodeRequest } from "@instavm/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { GuestLink } from "./agent-link.ts";
import type { LinkedSession } from "./agent-session.ts";
import { type RealAgent, startAgent } from "./testing/real-agent.ts";

const link = new GuestLink({ connectTimeoutMs: 20_000 });
let agent: RealAgent;

beforeAll(async () => {
  agent = await startAgent();
}, 600_000);
afterAll(async () => {
  await agent[Symbol.asyncDispose]();
});

const connect = (): Promise<LinkedSession> => link.connect(agent.socketPath);
const utf8 = new TextDecoder();

const collect = async <Ended>(call: OutputCall<Ended>) => {
  let stdout = "";
  let stderr = "";
  for await (const event of call) {
    if (event.type === "stdout") stdout += utf8.decode(event.data, { stream: true });
    if (event.type === "stderr") stderr += utf8.decode(event.data, { stream: true });
  }
  return { stdout, stderr, ended: await call.ended };
};

const python = (code: string, over: Partial<RunCodeRequest> = {}): RunCodeRequest => ({
  code,
  language: "python",
  ...over,
});

describe("code on the real agent", () => {
  it("runs Bash in a fresh shell per cell and gives its own exit code", async () => {
    await using session = await connect();
    const first = await collect(session.runCode({ code: "A=1; echo $A; echo oops >&2; exit 7", language: "bash" }));
    expect(first).toMatchObject({ stdout: "1\n", stderr: "oops\n", ended: { exitCode: 7, language: "bash" } });
    expect((await collect(session.runCode({ code: "echo ${A-none}", language: "bash" }))).stdout).toBe("none\n");
  });

  it("keeps Python's state from cell to cell", async () => {
    await using session = await connect();
    await collect(session.runCode(python("state = 6")));
    const { stdout, ended } = await collect(session.runCode(python("print(state * 7)")));
    expect(stdout).toBe("42\n");
    expect(ended).toMatchObject({ exitCode: 0, language: "python", error: undefined, contextLost: false });
  });

  it("says what was raised", async () => {
    await using session = await connect();
    const { stderr, ended } = await collect(session.runCode(python("1/0")));
    expect(ended).toMatchObject({ exitCode: 1, error: { name: "ZeroDivisionError", value: "division by zero" } });
    expect(stderr).toContain("ZeroDivisionError");
  });

  it("says which language it detected", async () => {
    await using session = await connect();
    expect((await collect(session.runCode({ code: "print(1)", language: "detect" }))).ended.language).toBe("python");
    expect((await collect(session.runCode({ code: "echo a | cat", language: "detect" }))).ended.language).toBe("bash");
  });

  it("streams code of megabytes in, in each language", async () => {
    await using session = await connect();
    const text = "ü".repeat(1_500_000);
    const inPython = await collect(session.runCode(python(`text = "${text}"\nprint(len(text))`)));
    expect(inPython.stdout).toBe("1500000\n");
    const inBash = await collect(
      session.runCode({ code: `text="${text}"\necho \${#text}`, language: "bash", env: { LC_ALL: "C.UTF-8" } }),
    );
    expect(inBash.stdout).toBe("1500000\n");
  });

  it("gives back megabytes of output whole", async () => {
    await using session = await connect();
    const { stdout, ended } = await collect(session.runCode(python("print('x' * 20_000_000)")));
    expect(stdout).toHaveLength(20_000_001);
    expect(ended.truncated).toBe(false);
  });

  it("passes a large display on whole, and leaves out and says so what is too large", async () => {
    await using session = await connect();
    // What the driver shows of a figure of that size.
    const show = (megabytes: string): RunCodeRequest =>
      python(
        `import sys; image = bytes(range(256)) * int(${megabytes} * 4096)\n` +
          `sys.modules["instavm_driver"].builtins.__instavm_system__.__self__.show({"text/plain": "figure", "image/png": image})`,
      );
    for (const [megabytes, kinds] of [
      ["0.2", ["text/plain", "image/png"]],
      ["15", ["text/plain", "image/png"]],
      ["17", ["text/plain"]],
    ] as const) {
      const call = session.runCode(show(megabytes));
      const displays: ReadonlyMap<string, Uint8Array>[] = [];
      for await (const event of call) if (event.type === "display") displays.push(event.data);
      expect(displays.map((data) => [...data.keys()])).toEqual([kinds]);
      const image = displays[0]?.get("image/png");
      if (image !== undefined) {
        expect(image).toHaveLength(Math.floor(Number(megabytes) * 4096) * 256);
        expect(image.every((byte, at) => byte === at % 256)).toBe(true);
      }
      expect(await call.ended).toMatchObject({ exitCode: 0, truncated: image === undefined });
    }
  });

  it("interrupts a cell at the guest's limit and keeps the state", async () => {
    await using session = await connect();
    await collect(session.runCode(python("kept = 'kept'")));
    const { ended } = await collect(session.runCode(python("while True: pass", { limitMs: 300 })));
    expect(ended).toMatchObject({ exitCode: 124, timedOut: true, contextLost: false });
    expect((await collect(session.runCode(python("print(kept)")))).stdout).toBe("kept\n");
  });

  it("interrupts a cell when the caller gives it up", async () => {
    await using session = await connect();
    const abort = new AbortController();
    const call = session.runCode(python("print('begun', flush=True)\nwhile True: pass"), { signal: abort.signal });
    for await (const event of call) {
      if (event.type === "stdout") break;
    }
    await expect(call.ended).rejects.toMatchObject({ code: "cancelled" });
    expect((await collect(session.runCode(python("print('next')")))).stdout).toBe("next\n");
    const second = session.runCode(python("while True: pass"), { signal: abort.signal });
    await delay(50);
    abort.abort(new RangeError("enough"));
    await expect(second.ended).rejects.toThrow("enough");
    expect((await collect(session.runCode(python("print('next')")))).stdout).toBe("next\n");
  });

  it("restarts a context: its state is gone", async () => {
    await using session = await connect();
    await collect(session.runCode(python("lost = 1")));
    await session.restartContext("");
    const { ended } = await collect(session.runCode(python("lost")));
    expect(ended.error?.name).toBe("NameError");
    await expect(session.restartContext("no-such-context")).rejects.toMatchObject({ code: "context_not_found" });
  });

  it("has the environment that came with the hello, in processes and in interpreters", async () => {
    await using own = await startAgent();
    const activate = { unixTimeMs: Date.now(), env: { HANDED: "über" } };
    await using session = await link.connect(own.socketPath, { activate });
    const shown = await collect(session.exec({ command: { argv: ["sh", "-c", 'echo "$HANDED"'] } }));
    expect(shown.stdout).toBe("über\n");
    const inPython = await collect(session.runCode(python("import os; print(os.environ['HANDED'])")));
    expect(inPython.stdout).toBe("über\n");
  });
});

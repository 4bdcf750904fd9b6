import type { Language, OutputCall } from "@instavm/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { GuestLink } from "./agent-link.ts";
import { type RealAgent, startAgent } from "./testing/real-agent.ts";

const link = new GuestLink({ connectTimeoutMs: 20_000 });
let agent: RealAgent;

beforeAll(async () => {
  agent = await startAgent();
}, 600_000);
afterAll(async () => {
  await agent[Symbol.asyncDispose]();
});

const utf8 = new TextDecoder();

const collect = async <Ended>(call: OutputCall<Ended>) => {
  let stdout = "";
  const results: string[] = [];
  for await (const event of call) {
    if (event.type === "stdout") stdout += utf8.decode(event.data, { stream: true });
    if (event.type === "display" && event.isResult) results.push(utf8.decode(event.data.get("text/plain")));
  }
  return { stdout, results, ended: await call.ended };
};

const cells: readonly (readonly [
  Language,
  { readonly set: string; readonly show: string; readonly endless: string },
])[] = [
  ["python", { set: "x = 1", show: "print('x' in globals())", endless: "print('in', flush=True)\nwhile True: pass" }],
  [
    "javascript",
    { set: "let x = 1", show: "console.log(typeof x !== 'undefined')", endless: "console.log('in'); for (;;) {}" },
  ],
  ["bash", { set: "x=true", show: "echo ${x-false}", endless: "echo in; sleep 1000" }],
];

describe("contexts on the real agent", () => {
  it("have an environment of their own", async () => {
    await using session = await link.connect(agent.socketPath);
    const { contextId } = await session.contexts.create({ language: "bash", env: { FLAVOUR: "salt" } });
    const { stdout } = await collect(session.runCode({ code: "echo $FLAVOUR", language: "detect", contextId }));
    expect(stdout).toBe("salt\n");
    await session.contexts.delete(contextId);
  });

  it.each(cells)(
    "are made, listed, interrupted, restarted and deleted: %s",
    async (language, { set, show, endless }) => {
      await using session = await link.connect(agent.socketPath);
      const { contexts } = session;
      const made = await contexts.create({ language, cwd: "/usr" });
      expect(made).toMatchObject({ language, cwd: "/usr", isBusy: false });
      const { contextId } = made;
      expect((await contexts.list()).filter((context) => context.contextId === contextId)).toEqual([made]);
      const run = async (code: string) => collect(session.runCode({ code, language, contextId }));
      await run(set);
      expect((await run(show)).stdout.toLowerCase()).toBe("true\n");
      expect((await collect(session.runCode({ code: show, language: "detect", contextId }))).ended.language).toBe(
        language,
      );
      const running = session.runCode({ code: endless, language, contextId });
      for await (const event of running) {
        if (event.type === "stdout") expect((await contexts.interrupt(contextId)).contextId).toBe(contextId);
      }
      const ended = await running.ended;
      expect([ended.contextLost, ended.exitCode > 0]).toEqual([false, true]);
      expect((await run(show)).stdout.toLowerCase()).toBe("true\n");
      await contexts.restart(contextId);
      expect((await run(show)).stdout.toLowerCase()).toBe("false\n");
      await contexts.delete(contextId);
      await expect(run(show)).rejects.toMatchObject({ code: "context_not_found" });
      await expect(contexts.delete(contextId)).rejects.toMatchObject({ code: "context_not_found" });
      expect((await contexts.list()).map((context) => context.contextId)).not.toContain(contextId);
    },
  );

  it("give JavaScript's results and errors", async () => {
    await using session = await link.connect(agent.socketPath);
    const run = (code: string) => collect(session.runCode({ code, language: "javascript", env: { ANSWER: "42" } }));
    expect((await run("const answer = Number(await process.env.ANSWER); ({ answer })")).results).toEqual([
      "{ answer: 42 }",
    ]);
    const { error, exitCode } = (await run("throw new TypeError('no')")).ended;
    expect([exitCode, error?.name, error?.value]).toEqual([1, "TypeError", "no"]);
    expect(error?.traceback).toContain("TypeError: no\n    at <cell-");
  });

  it("are refused when their directory is none or their id is none", async () => {
    await using session = await link.connect(agent.socketPath);
    const nowhere = session.contexts.create({ language: "bash", cwd: "/no/such" });
    await expect(nowhere).rejects.toMatchObject({ code: "invalid" });
    for (const contextId of ["", "no-such", "../x", "x".repeat(1000)]) {
      await expect(session.contexts.restart(contextId)).rejects.toMatchObject({ code: "context_not_found" });
    }
  });
});

import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { rawCall } from "./support/raw-call.ts";
import { RealServer } from "./support/real-server.ts";
import { TestSession } from "./support/test-session.ts";
import { VmApi } from "./support/vm-api.ts";

let server: RealServer;

beforeAll(async () => {
  server = await RealServer.start();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const languages = [
  {
    language: "python",
    set: "x = 5",
    show: "import os; print(globals().get('x'), os.getcwd(), os.environ.get('NAME'))",
    without: "None",
  },
  {
    language: "javascript",
    set: "let x = 5",
    show: "console.log(typeof x === 'undefined' ? 'None' : x, process.cwd(), process.env.NAME ?? 'None')",
    without: "None",
  },
  { language: "bash", set: "x=5", show: "echo ${x-None} $PWD ${NAME-None}", without: "None" },
] as const;

test.each(languages)(
  "two $language contexts have each its own state, directory and environment",
  async ({ language, set, show }) => {
    await using vm = await VmApi.open(server);
    const one = await vm.context({ language, cwd: "/usr", env: { NAME: "one" } });
    const other = await vm.context({ language, cwd: "/tmp" });
    expect(await vm.run(one, set)).toMatchObject({ exit_code: 0, language });
    expect(await vm.run(one, show)).toMatchObject({ stdout: "5 /usr one\n", language });
    expect(await vm.run(other, show)).toMatchObject({ stdout: "None /tmp None\n" });
    expect(await vm.json("/contexts")).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ context_id: one, language, cwd: "/usr", is_busy: false }),
        expect.objectContaining({ context_id: other, language, cwd: "/tmp", is_busy: false }),
        // The one of code without a context is there from the beginning.
        expect.objectContaining({ context_id: "python", is_busy: false }),
      ]),
    );
    await vm.json(`/contexts/${one}/restart`, { method: "POST" });
    expect(await vm.run(one, show)).toMatchObject({ stdout: "None /usr one\n" });
    expect(await vm.json(`/contexts/${one}`, { method: "DELETE" })).toMatchObject({ context_id: one });
    expect(await vm.run(one, show)).toMatchObject({ code: "context_not_found" });
    expect(await vm.call(`/contexts/${one}`)).toMatchObject({ status: 404, body: { code: "context_not_found" } });
    expect(await vm.run(other, show)).toMatchObject({ exit_code: 0 });
  },
);

test.each([
  ["python", "print('in', flush=True)\nwhile True: pass", "print(x)"],
  ["javascript", "console.log('in'); for (;;) {}", "console.log(x)"],
  ["bash", "echo in; while :; do :; done", "echo $x"],
])("an endless loop in %s is interrupted and its state stays", async (language, endless, show) => {
  await using vm = await VmApi.open(server);
  const id = await vm.context({ language });
  await vm.run(id, language === "javascript" ? "var x = 7" : "x=7");
  const running = vm.run(id, endless);
  await busy(vm, id);
  expect(await vm.json(`/contexts/${id}/interrupt`, { method: "POST" })).toMatchObject({ context_id: id });
  expect(await running).toMatchObject({ success: false, stdout: "in\n", timed_out: false, context_lost: false });
  expect(await vm.run(id, show)).toMatchObject({ stdout: "7\n", exit_code: 0 });
});

test("a restart and a deletion end the code that runs", async () => {
  await using vm = await VmApi.open(server);
  const id = await vm.context({ language: "python" });
  const restarted = vm.run(id, "while True: pass");
  await busy(vm, id);
  await vm.json(`/contexts/${id}/restart`, { method: "POST" });
  expect(await restarted).toMatchObject({ success: false, context_lost: true });
  const deleted = vm.run(id, "while True: pass");
  await busy(vm, id);
  await vm.json(`/contexts/${id}`, { method: "DELETE" });
  expect(await deleted).toMatchObject(expect.not.objectContaining({ success: true }));
  expect(await vm.json("/contexts")).toMatchObject([{ context_id: "python" }]);
});

test("code without a context keeps its own, and runs beside the contexts", async () => {
  await using vm = await VmApi.open(server);
  const id = await vm.context({ language: "python" });
  const endless = vm.run(id, "while True: pass");
  await busy(vm, id);
  await vm.session.python("x = 'default'");
  const javascript = { session_id: vm.session.sessionId, language: "javascript", command: "6 * 7" };
  expect(await rawCall(server, "/execute", { body: javascript })).toMatchObject({
    status: 200,
    body: { language: "javascript", stdout: "42\n" },
  });
  expect(await vm.session.python("print(x)")).toMatchObject({ stdout: "default\n" });
  const listed = await vm.json("/contexts");
  expect(listed).toMatchObject([
    { context_id: "javascript", is_busy: false },
    { context_id: "python", is_busy: false },
    { context_id: id, is_busy: true },
  ]);
  await vm.json("/contexts/python/restart", { method: "POST" });
  expect(await vm.session.python("print('x' in globals())")).toMatchObject({ stdout: "False\n" });
  await vm.json(`/contexts/${id}/interrupt`, { method: "POST" });
  expect(await endless).toMatchObject({ success: false, timed_out: false });
});

test("a VM has 32 contexts at most, and says what it cannot do", async () => {
  await using vm = await VmApi.open(server);
  for (const body of [
    { language: "python", cwd: "/no/such/directory" },
    { language: "python", cwd: "/etc/passwd" },
  ]) {
    expect(await vm.call("/contexts", { body })).toMatchObject({ status: 422, body: { code: "invalid" } });
  }
  for (let count = 1; count < 32; count += 1) await vm.context({ language: "bash" });
  expect(await vm.call("/contexts", { body: { language: "bash" } })).toMatchObject({
    status: 403,
    body: { code: "limit_exceeded", detail: expect.stringContaining("32") },
  });
  await using other = await TestSession.open(server);
  expect(await other.bash("echo ok")).toMatchObject({ stdout: "ok\n" });
});

async function busy(vm: VmApi, id: string): Promise<void> {
  for (const untilMs = Date.now() + 60_000; Date.now() < untilMs; await sleep(20)) {
    const context = await vm.json(`/contexts/${id}`);
    // The loop itself is a moment behind the call that runs it.
    if (JSON.stringify(context).includes('"is_busy":true')) return await sleep(300);
  }
  throw new Error(`context ${id} never ran anything`);
}

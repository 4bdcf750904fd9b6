import { readFileSync } from "node:fs";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventsOf } from "./support/event-stream.ts";
import { rawCall } from "./support/raw-call.ts";
import { RealServer } from "./support/real-server.ts";
import { processesOf } from "./support/traces.ts";
import { VmApi } from "./support/vm-api.ts";

const mib = 1024 * 1024;

let server: RealServer;

beforeAll(async () => {
  server = await RealServer.start();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

test("a command takes input, is read by many at different offsets, and is remembered for late ones", async () => {
  await using vm = await VmApi.open(server);
  const script = 'echo begun; while read -r line; do echo "got $line"; done; echo over >&2; exit 7';
  const id = await vm.start({ command: script, stdin: true, tag: "echoes", cwd: "/tmp", env: { A: "1" } });
  await vm.until(id, "begun\n");
  const first = vm.read(id);
  const second = vm.read(id, "offset=6");
  const news = vm.read(id, "offset=0&from_end=true");
  await sleep(500);
  expect(await vm.write(id, "one\ntwo\n")).toEqual({ size: 8 });
  await vm.until(id, "got two\n");
  expect(await vm.json(`/commands/${String(id)}`)).toMatchObject({ is_running: true, stdin_is_open: true });
  expect(await vm.write(id, "three\n", "?close=true")).toEqual({ size: 6 });
  const printed = "got one\ngot two\ngot three\n";
  expect(await first).toMatchObject({ stdout: `begun\n${printed}`, stderr: "over\n", end: { event: "exit" } });
  expect(await second).toMatchObject({ stdout: printed, stderr: "over\n" });
  expect(await news).toMatchObject({ stdout: printed, stderr: "over\n" });
  const late = await vm.read(id, "offset=14");
  expect(late).toMatchObject({ stdout: "got two\ngot three\n", stderr: "over\n" });
  expect(late.events[0]).toEqual({ event: "position", data: { offset: 14, dropped_bytes: 0 } });
  expect(late.end).toMatchObject({
    event: "exit",
    data: {
      command_id: id,
      tag: "echoes",
      is_running: false,
      stdin_is_open: false,
      exit_code: 7,
      signal: null,
      output_bytes: 37,
      truncated: false,
    },
  });
  expect(await vm.json("/commands?tag=echoes")).toMatchObject([{ command_id: id }]);
  expect(await vm.json("/commands?tag=none")).toEqual([]);
  expect(await vm.call(`/commands/${String(id)}/stdin`, { body: "late" })).toMatchObject({
    status: 409,
    body: { code: "conflict" },
  });
});

test("a command goes on when its readers leave, and is found again at the offset where one stopped", async () => {
  await using vm = await VmApi.open(server);
  const id = await vm.start({ command: "for i in $(seq 1 40); do echo line $i; sleep 0.05; done" });
  const leaving = new AbortController();
  const { body } = await vm.openOutput(id, "", leaving.signal);
  let seen = "";
  const reader = body?.pipeThrough(new TextDecoderStream()).getReader();
  while (!seen.includes("line 3")) seen += (await reader?.read())?.value ?? "";
  leaving.abort();
  const nextOffset = [...seen.matchAll(/"next_offset":(\d+)/g)].at(-1)?.[1] ?? "";
  expect(Number(nextOffset)).toBeGreaterThan(0);
  const rest = await vm.read(id, `offset=${nextOffset}`);
  const all = Array.from({ length: 40 }, (_, index) => `line ${String(index + 1)}\n`).join("");
  expect(rest.stdout).toBe(all.slice(Number(nextOffset)));
  expect(rest.end).toMatchObject({ event: "exit", data: { exit_code: 0 } });
});

test("signals, a timeout and a deletion end a command with all that it has started", async () => {
  await using vm = await VmApi.open(server);
  const trapping = await vm.start({ command: "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.1; done" });
  await vm.until(trapping, "ready");
  await vm.json(`/commands/${String(trapping)}/signal`, { body: {} });
  expect(await vm.json(`/commands/${String(trapping)}?wait=60`)).toMatchObject({ exit_code: 5, signal: null });
  expect((await vm.read(trapping)).stdout).toBe("ready\nbye\n");

  const killed = await vm.start({ argv: ["sleep", "1000"] });
  await vm.json(`/commands/${String(killed)}/signal`, { body: { signal: "SIGKILL" } });
  expect(await vm.json(`/commands/${String(killed)}?wait=60`)).toMatchObject({ exit_code: 137, signal: 9 });

  const late = await vm.start({ command: "sleep 1000 & sleep 1000", timeout: 0.5 });
  expect(await vm.json(`/commands/${String(late)}?wait=60`)).toMatchObject({ exit_code: 124, timed_out: true });

  const forgotten = await vm.start({ command: "sleep 1001 & echo ready; sleep 1001" });
  await vm.until(forgotten, "ready");
  const reader = vm.read(forgotten);
  await vm.json(`/commands/${String(forgotten)}`, { method: "DELETE" });
  expect((await reader).end).toMatchObject({ event: "exit", data: { signal: 9 } });
  expect(await vm.call(`/commands/${String(forgotten)}`)).toMatchObject({ status: 404 });
  expect((await vm.session.bash("pgrep -f '^sleep 100'; echo none")).stdout).toBe("none\n");
});

test("a command runs as the user that was asked for, where and with what was asked for", async () => {
  await using vm = await VmApi.open(server);
  const run = async (body: Readonly<Record<string, unknown>>): Promise<string> => {
    const { stdout, stderr } = await vm.read(await vm.start(body));
    return stdout + stderr;
  };
  expect(
    await run({ command: 'id -un; echo "$PWD $FLAVOUR $HOME"', user: "nobody", cwd: "/tmp", env: { FLAVOUR: "salt" } }),
  ).toBe("nobody\n/tmp salt /nonexistent\n");
  expect(await run({ argv: ["printf", "%s|", "a b", "$HOME", "*"] })).toBe("a b|$HOME|*|");
  expect(await run({ command: "cat" })).toBe("");
  for (const body of [{ argv: ["no-such-program"] }, { command: "true", user: "nobody-here" }]) {
    const answer = await vm.call("/commands", { body });
    expect(answer.status, JSON.stringify(answer.body)).toBeGreaterThanOrEqual(404);
    expect(answer.status).toBeLessThan(500);
  }
});

test("kept output is cut at its end, which is said, and nobody's memory grows", { timeout: 300_000 }, async () => {
  await using vm = await VmApi.open(server);
  const before = residentMib();
  const id = await vm.start({ command: "echo begun; read line; yes 0123456789abcde | head -c 60M", stdin: true });
  await vm.until(id, "begun");
  // Asks, and reads nothing until the command is over.
  const { hostname, port } = new URL(server.baseUrl);
  const stuck = connect(Number(port), hostname);
  stuck.on("error", () => undefined);
  const path = `/v1/vms/${String(vm.session.vmId)}/commands/${String(id)}/output`;
  stuck.write(`GET ${path} HTTP/1.1\r\nhost: x\r\nx-api-key: ${server.apiKey}\r\n\r\n`);
  stuck.pause();
  await vm.write(id, "\n");
  const fast = await vm.read(id, `offset=${String(6 + 60 * mib - 16)}`);
  expect(fast.stdout).toBe("0123456789abcde\n");
  const ended = await vm.json(`/commands/${String(id)}?wait=100`);
  expect(ended).toMatchObject({ exit_code: 0, truncated: true, output_bytes: 6 + 60 * mib });
  expect(residentMib() - before).toBeLessThan(96);
  const late = await vm.read(id);
  expect(late.stdout.length).toBeLessThanOrEqual(mib);
  const [position] = late.events;
  expect(position).toEqual({
    event: "position",
    data: { offset: 6 + 60 * mib - late.stdout.length, dropped_bytes: 6 + 60 * mib - late.stdout.length },
  });
  // What the stuck one missed it is told, when it reads at last.
  let text = "";
  const whole = new Promise<void>((resolve) => {
    stuck.setEncoding("utf8").on("data", (data: string) => {
      text += data;
      if (text.includes("event: exit")) resolve();
    });
  });
  stuck.resume();
  await whole;
  const dropped = [...text.matchAll(/"dropped_bytes":(\d+)/g)].reduce((sum, match) => sum + Number(match[1]), 0);
  expect(dropped).toBeGreaterThan(0);
  stuck.destroy();
});

test("a writer that vanishes leaves what it wrote, and the next one is heard", async () => {
  await using vm = await VmApi.open(server);
  const id = await vm.start({ command: 'while read -r line; do echo "got $line"; done', stdin: true });
  const half = writeByHand(vm, id, { announced: 1000, body: "half\n" });
  await vm.until(id, "got half");
  half.destroy();
  expect(await vm.write(id, "rest\n", "?close=true")).toEqual({ size: 5 });
  expect(await vm.read(id)).toMatchObject({ stdout: "got half\ngot rest\n", end: { data: { exit_code: 0 } } });
  // A pipe that nobody empties holds its writer, and nobody else.
  const deaf = await vm.start({ command: "echo ready; sleep 1000", stdin: true });
  await vm.until(deaf, "ready");
  const stuck = writeByHand(vm, deaf, { announced: mib, body: "x".repeat(mib) });
  await sleep(500);
  expect(await vm.json(`/commands/${String(deaf)}`)).toMatchObject({ is_running: true, stdin_is_open: true });
  stuck.destroy();
  await sleep(200);
  const next = vm.call(`/commands/${String(deaf)}/stdin`, { body: "more" });
  await vm.json(`/commands/${String(deaf)}`, { method: "DELETE" });
  expect((await next).status).toBeGreaterThanOrEqual(404);
});

/** Sends a body without waiting for an answer. */
function writeByHand(vm: VmApi, id: number, sent: { readonly announced: number; readonly body: string }): Socket {
  const { hostname, port } = new URL(server.baseUrl);
  const socket = connect(Number(port), hostname);
  socket.on("error", () => undefined);
  const path = `/v1/vms/${String(vm.session.vmId)}/commands/${String(id)}/stdin`;
  const head = [
    `POST ${path} HTTP/1.1`,
    "host: x",
    `x-api-key: ${server.apiKey}`,
    `content-length: ${String(sent.announced)}`,
  ];
  socket.write(`${head.join("\r\n")}\r\n\r\n${sent.body}`);
  return socket;
}

test("bytes that come in any pieces are whole characters, and what is none is U+FFFD", async () => {
  await using vm = await VmApi.open(server);
  const command = String.raw`printf 'a\xe2'; sleep 0.3; printf '\x82\xac\xff\xf0'`;
  const { stdout, end } = await vm.read(await vm.start({ command }));
  expect(stdout).toBe("a€\ufffd\ufffd");
  expect(end).toMatchObject({ event: "exit" });
});

test("128 commands run at once, and no more", { timeout: 300_000 }, async () => {
  await using vm = await VmApi.open(server);
  const ids: number[] = [];
  for (let count = 0; count < 128; count += 1) ids.push(await vm.start({ argv: ["sleep", "1000"], tag: "many" }));
  expect(await vm.call("/commands", { body: { argv: ["sleep", "1"] } })).toMatchObject({
    status: 403,
    body: { code: "limit_exceeded", detail: expect.stringContaining("128") },
  });
  expect(await vm.json("/commands?tag=many")).toHaveLength(128);
  for (const id of ids) await vm.json(`/commands/${String(id)}`, { method: "DELETE" });
  expect(await vm.json("/commands")).toEqual([]);
});

test("a command and its reader's offset outlive the server", { timeout: 300_000 }, async () => {
  await using vm = await VmApi.open(server);
  const id = await vm.start({ command: 'echo begun; read -r line; echo "got $line"', stdin: true });
  await vm.until(id, "begun");
  const cut = (await vm.openOutput(id)).text();
  await server.stop();
  expect(eventsOf(await cut).at(-1)).toMatchObject({ event: "error", data: { code: "unavailable" } });
  await server.startAgain();
  await vm.write(id, "it\n");
  expect(await vm.read(id, "offset=6")).toMatchObject({ stdout: "got it\n", end: { event: "exit" } });
});

test("another key sees nothing of it", async () => {
  await using vm = await VmApi.open(server);
  const id = await vm.start({ command: "sleep 1000", stdin: true });
  const made = (await rawCall(server, "/v1/api-keys", { body: { description: "other" } })).body;
  const key = typeof made === "object" && made !== null && "key" in made ? String(made.key) : "";
  const headers = { "x-api-key": key };
  for (const [method, rest, body] of [
    ["GET", "/commands", undefined],
    ["GET", `/commands/${String(id)}`, undefined],
    ["GET", `/commands/${String(id)}/output`, undefined],
    ["POST", `/commands/${String(id)}/signal`, {}],
    ["POST", `/commands/${String(id)}/stdin`, "x"],
    ["DELETE", `/commands/${String(id)}`, undefined],
    ["GET", "/contexts", undefined],
    ["POST", "/contexts", { language: "python" }],
  ] as const) {
    const answer = await vm.call(rest, { method, headers, ...(body === undefined ? {} : { body }) });
    expect(answer, `${method} ${rest}`).toMatchObject({ status: 404, body: { code: "vm_not_found" } });
  }
  expect(await vm.json(`/commands/${String(id)}`)).toMatchObject({ is_running: true });
});

function residentMib(): number {
  const [main] = processesOf(server.stateDirectory).filter(({ commandLine }) => commandLine.includes("main.ts"));
  const status = readFileSync(`/proc/${String(main?.pid)}/status`, "utf8");
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
}

import { randomUUID } from "node:crypto";
import { rawCall } from "../support/raw-call.ts";
import type { RealServer } from "../support/real-server.ts";
import { fieldsOf, listOf } from "./document.ts";
import type { Random } from "./random.ts";
import type { Known } from "./values.ts";

const vmsAtMost = 3;

const paths = [
  "/srv/fuzz",
  "/srv/fuzz/a",
  "/srv/fuzz/d/e/f",
  "/srv/fuzz/ü 漢 🙂",
  "/srv/fuzz/../fuzz/b",
  "/srv/fuzz/-rf",
  "/srv/fuzz/a\nb",
  "/srv/fuzz/loop",
  "/srv/fuzz/a/under-a-file",
  "/srv/fuzz/pipe",
  `/srv/fuzz/${"l".repeat(255)}`,
  `/srv/fuzz/${"l".repeat(256)}`,
  `/srv/fuzz${"/deep".repeat(300)}`,
  "relative",
  "../srv/fuzz/a",
  "/proc/self/status",
  "/dev/null",
  "/dev/full",
  "/nowhere/at/all",
];

const commands = [
  "print(6 * 7)",
  "1 / 0",
  "echo out; echo err >&2; exit 3",
  "import sys; sys.stdout.buffer.write(bytes(range(256)))",
  "x = [i for i in range(10)]\nx",
  "def f(:\n",
  "'ü ✓ 🙂' * 3",
  "sleep 5",
  "head -c 300000 /dev/urandom",
  "kill -9 $$",
  "display = {'text/html': '<b>'}\ndisplay",
  "console.log(6 * 7)",
  "\u0001\u001b[31m",
  "-",
];

/** What there is on the server for a fuzzer to name: VMs with their sessions, tasks, keys. */
export class FuzzWorld {
  readonly #server: RealServer;
  readonly #vms: { readonly vmId: string; readonly sessionId: string }[] = [];
  readonly #found = new Map<string, unknown[]>();

  constructor(server: RealServer) {
    this.#server = server;
  }

  /** Values for the fields of one request: most of them of things that are there, and belong together. */
  known(random: Random): Known {
    const { vmId, sessionId } = random.pick(this.#vms);
    const often = <T>(value: T, rarely: T): readonly T[] => [value, value, value, value, value, value, rarely];
    return {
      vm_id: often(vmId, "q7v2kd0w9x3m1zr8tj5c"),
      session_id: often(sessionId, "5b0f9b5c-3c07-4d53-9a0c-0d3d1e6f7a21"),
      task_id: [...this.#of("task_id"), "8a6e0804-2bd0-4672-b79d-d97027f9071a"],
      key_id: [...this.#of("key_id"), 999_999],
      context_id: [...this.#of(`context_id ${vmId}`), "python", "nowhere"],
      command_id: [...this.#of(`command_id ${vmId}`), 999_999],
      ...Object.fromEntries(["path", "filename", "remote_path", "from", "to"].map((name) => [name, paths])),
      cwd: ["/srv/fuzz", "/tmp", "/nowhere"],
      command: commands,
      timeout: [1, 1.5, 2],
      wait: ["0", "0.5", "1"],
      // A stopped command takes no input, and a write to it waits for as long as its client does.
      signal: ["SIGTERM", "SIGINT", "SIGUSR1", "SIGCONT", "SIGKILL", 1, 64],
      // Every other shape would need a template of its own first.
      memory_mb: [512],
      vcpu_count: [2],
      vm_lifetime_seconds: [20, 300, 3600],
      // Copies of a VM.
      count: [1, 2],
      // In the body it would take the place of the header.
      api_key: [this.#server.apiKey],
      "Idempotency-Key": Array.from({ length: 5 }, () => randomUUID()),
      Range: ["bytes=0-10", "bytes=3-", "bytes=-5"],
      metadata: [{ team: "fuzz" }, { a: [1, { b: null }] }, {}],
      role: ["user"],
    };
  }

  /** Makes what is missing. */
  async prepare(): Promise<void> {
    while (this.#vms.length < 2) await this.#addVm();
    for (const vm of this.#vms) await this.#furnish(vm);
    if (this.#of("key_id").length === 0) {
      this.take("createKey", (await rawCall(this.#server, "/v1/api-keys", { body: { description: "fuzz" } })).body);
    }
  }

  /** Notes what an answer tells of, and ends what has become too much. */
  async learn(operationId: string, status: number, body: unknown): Promise<void> {
    if (status === 200) this.take(operationId, body);
    if (status === 404 || status >= 500 || /^(kill|delete)/.test(operationId)) await this.#forgetTheDead();
    // The newest goes: in the others there is something to name already.
    while (this.#vms.length > vmsAtMost) await this.#end(this.#vms.pop()?.sessionId ?? "");
    await this.prepare();
  }

  /** Notes the ids of one answer. */
  take(operationId: string, body: unknown): void {
    const fields = fieldsOf(body);
    const { vm_id: vmId, session_id: sessionId } = fields;
    if (operationId === "forkVm") for (const vm of listOf(fields["vms"])) this.take("cloneVm", vm);
    if (
      /^(createSession|createVm|cloneVm)$/.test(operationId) &&
      typeof vmId === "string" &&
      typeof sessionId === "string"
    ) {
      if (!this.#vms.some((vm) => vm.sessionId === sessionId)) this.#vms.push({ vmId, sessionId });
    }
    if (operationId === "createKey") this.#note("key_id", fields["key_id"]);
    if (operationId === "executeAsync") this.#note("task_id", fields["task_id"]);
    if (operationId === "deleteContext") this.#drop(`context_id ${String(vmId)}`, fields["context_id"]);
    if (operationId === "deleteCommand") this.#drop(`command_id ${String(vmId)}`, fields["command_id"]);
    if (operationId === "createContext") this.#note(`context_id ${String(vmId)}`, fields["context_id"]);
    if (operationId === "startCommand") this.#note(`command_id ${String(vmId)}`, fields["command_id"]);
  }

  #of(name: string): readonly unknown[] {
    return this.#found.get(name) ?? [];
  }

  #note(name: string, value: unknown): void {
    if (value !== undefined) this.#found.set(name, [...this.#of(name), value].slice(-4));
  }

  #drop(name: string, value: unknown): void {
    this.#found.set(
      name,
      this.#of(name).filter((known) => known !== value),
    );
  }

  async #addVm(): Promise<void> {
    const { status, body } = await rawCall(this.#server, "/v1/vms", { body: { vm_lifetime_seconds: 3600 } });
    if (status !== 200) throw new Error(`the fuzzer gets no VM: ${JSON.stringify(body)}`);
    this.take("createVm", body);
  }

  /** Files, once, and always a command that can be written to. */
  async #furnish({ vmId, sessionId }: { readonly vmId: string; readonly sessionId: string }): Promise<void> {
    if (this.#of(`command_id ${vmId}`).length > 0) return;
    const cat = { command: "cat; sleep 600", stdin: true };
    this.take("startCommand", (await rawCall(this.#server, `/v1/vms/${vmId}/commands`, { body: cat })).body);
    const command = "mkdir -p /srv/fuzz/d; echo a > /srv/fuzz/a; ln -sf loop /srv/fuzz/loop; mkfifo /srv/fuzz/pipe";
    await rawCall(this.#server, "/execute", { body: { session_id: sessionId, language: "bash", command } });
  }

  async #forgetTheDead(): Promise<void> {
    const { body } = await rawCall(this.#server, "/v1/vms");
    const live = listOf(body).map((vm) => fieldsOf(vm)["vm_id"]);
    this.#vms.splice(0, Infinity, ...this.#vms.filter(({ vmId }) => live.includes(vmId)));
    const keys = listOf((await rawCall(this.#server, "/v1/api-keys")).body).map((key) => fieldsOf(key)["id"]);
    this.#found.set(
      "key_id",
      this.#of("key_id").filter((id) => keys.includes(id)),
    );
  }

  async #end(sessionId: string): Promise<void> {
    await rawCall(this.#server, "/kill", { body: { session_id: sessionId } });
  }
}

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Fork } from "./fork-room.ts";
import { until } from "./until.ts";

const programPath = "/root/block-writers.py";
const source = new URL("block-writers.py", import.meta.url);

/** How many there are in a VM. */
const writerCount = 4;

/** Starts the writers in a VM; they outlive every session with its agent. */
export async function startWriters(vm: Fork): Promise<void> {
  const agent = await vm.agent();
  await agent.writeFile(programPath, await readFile(source));
  await agent.processes.start({ command: { argv: ["python3", programPath, "write"] } });
}

/** What a VM found on its disk. */
export interface Verified {
  /** Blocks that were read back. */
  readonly checked: number;
  /** Of each writer, the last block that was acknowledged when it was ended. */
  readonly acknowledged: readonly number[];
}

/** Ends the writers of a VM and reads every block back from its disk; throws when one is missing or wrong. */
export async function verifyBlocks(vm: Fork): Promise<Verified> {
  const [checked = 0, ...acknowledged] = (await run(vm, ["python3", programPath, "verify"]))
    .trim()
    .split(" ")
    .map(Number);
  return { checked, acknowledged };
}

/** How many programs of a VM tell. */
export async function countTelling(vm: Fork): Promise<number> {
  return Number(await run(vm, ["sh", "-c", "pgrep -cf '^python3 .*[t]ell' || true"]));
}

/** Runs a program in a VM; throws unless it exits with 0. */
async function run(vm: Fork, argv: readonly string[]): Promise<string> {
  const call = (await vm.agent()).exec({ command: { argv }, limitMs: 120_000 });
  let [printed, complained] = ["", ""];
  for await (const event of call) {
    if (event.type === "stdout") printed += Buffer.from(event.data).toString();
    if (event.type === "stderr") complained += Buffer.from(event.data).toString();
  }
  const { exitCode } = await call.ended;
  if (exitCode !== 0) throw new Error(`${argv.join(" ")} exited with ${exitCode}: ${printed}${complained}`);
  return printed;
}

/** An open stream of a VM, and whether every byte of it came once and in order. */
export class Telling implements AsyncDisposable {
  /** Lines so far. */
  lines = 0;
  /** Of each writer, what the last line said. */
  acknowledged: readonly number[] = [];
  readonly #stop = new AbortController();
  readonly #reading: Promise<void>;
  #failure: Error | undefined;

  private constructor(agent: Awaited<ReturnType<Fork["agent"]>>, restS: number) {
    const argv = ["python3", programPath, "tell", `${restS}`];
    const call = agent.exec({ command: { argv } }, { signal: this.#stop.signal });
    call.ended.catch(() => {});
    this.#reading = this.#read(call).catch((error: unknown) => {
      if (!this.#stop.signal.aborted) this.#failure = error instanceof Error ? error : new Error(String(error));
    });
  }

  /** Begins to read; the VM's program rests for so many seconds after each line. */
  static async open(vm: Fork, restS: number): Promise<Telling> {
    return new Telling(await vm.agent(), restS);
  }

  /** Resolves when so many more lines have come; throws what was wrong with one. */
  async more(lines: number): Promise<void> {
    const wanted = this.lines + lines;
    await until(`line ${wanted} of the stream`, () => {
      if (this.#failure !== undefined) throw this.#failure;
      return this.lines >= wanted;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error("the test is over"));
    await this.#reading;
  }

  async #read(call: AsyncIterable<{ readonly type: string; readonly data?: unknown }>): Promise<void> {
    let rest = "";
    for await (const event of call) {
      if (event.type !== "stdout" || !(event.data instanceof Uint8Array)) continue;
      const lines = (rest + Buffer.from(event.data).toString("latin1")).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#take(line);
    }
    throw new Error(`the stream ended after line ${this.lines}`);
  }

  #take(line: string): void {
    const next = this.lines + 1;
    const [number, digest, ...acknowledged] = line.split(" ");
    const expected = createHash("sha256").update(`${next}`).digest("hex");
    if (number !== `${next}` || digest !== expected || acknowledged.length !== writerCount) {
      throw new Error(`line ${next} of the stream is ${JSON.stringify(line)}`);
    }
    this.lines = next;
    this.acknowledged = acknowledged.map(Number);
  }
}

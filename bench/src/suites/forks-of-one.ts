import { startBenchServer, type BenchServer } from "../bench-server.ts";
import type { Suite } from "../result.ts";
import { createToFirstResult, execute, kill, textField } from "../sandbox.ts";
import { summarise } from "../statistics.ts";

const wanted = 100;
const singles = 20;
const draw = "import random; print(x, random.random())";

/** Forks a VM; resolves with the sessions of its copies. */
async function forkOf(server: BenchServer, vmId: string, count: number): Promise<readonly string[]> {
  const { vms } = await server.client.call("POST", `/v1/vms/${vmId}/fork`, { count });
  if (!Array.isArray(vms)) throw new Error(`the fork answered no list but ${typeof vms}`);
  return vms.map((vm: unknown) => {
    if (typeof vm === "object" && vm !== null && "session_id" in vm && typeof vm.session_id === "string") {
      return vm.session_id;
    }
    throw new Error("a copy has no session_id");
  });
}

/** What a copy prints that knows its source's variable and draws a number of its own. */
async function drawnIn(server: BenchServer, sessionId: string): Promise<string> {
  const body = { session_id: sessionId, language: "python", command: draw };
  return textField(await server.client.call("POST", "/execute", body), "stdout");
}

/** How quickly one running sandbox becomes many, through the API. */
export const forksOfOne: Suite = {
  name: "forks-of-one",
  about: `${wanted} forks of one running sandbox through the API, each with a number of its own`,
  async run(report) {
    await using server = await startBenchServer({ poolSize: 0, forks: true });
    const { sessionId, vmId } = await createToFirstResult(server, 1);
    await execute(server, { sessionId, language: "python", code: "x = 41; import random; random.seed(7)", prints: "" });
    const firstResults: number[] = [];
    const forkCalls: number[] = [];
    for (let round = 0; round < singles; round += 1) {
      const startedAt = performance.now();
      const [copy = ""] = await forkOf(server, vmId, 1);
      forkCalls.push(performance.now() - startedAt);
      await execute(server, { sessionId: copy, language: "python", code: "print(x + 1)", prints: "42\n" });
      firstResults.push(performance.now() - startedAt);
      await kill(server, copy);
    }
    report(`${singles} forks of one`);
    const startedAt = performance.now();
    const copies = await forkOf(server, vmId, wanted);
    const madeMs = performance.now() - startedAt;
    const answers = await Promise.all(copies.map(async (copy) => drawnIn(server, copy)));
    const allMs = performance.now() - startedAt;
    const right = new Set(answers.filter((answer) => /^41 0\.\d+\n$/.test(answer)));
    return [
      {
        name: "fork → child's first Python result, heap intact",
        unit: "ms",
        summary: summarise(firstResults),
        promise: "≤ 35",
      },
      { name: "  the fork's call", unit: "ms", summary: summarise(forkCalls) },
      {
        name: `${wanted} forks of one sandbox, all answers`,
        unit: "ms",
        summary: summarise([allMs]),
        promise: "≤ 4000",
      },
      { name: "  the fork's call", unit: "ms", summary: summarise([madeMs]) },
      {
        name: `  of ${wanted}, with a number of its own`,
        unit: "of n",
        summary: summarise([right.size]),
        promise: "100",
      },
    ];
  },
};

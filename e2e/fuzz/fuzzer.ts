import { rawCall } from "../support/raw-call.ts";
import type { RealServer } from "../support/real-server.ts";
import { operationsOf } from "./document.ts";
import { spoiled } from "./mutations.ts";
import { Random } from "./random.ts";
import { requestOf } from "./request.ts";
import type { FuzzRequest } from "./request.ts";
import { Sender } from "./send.ts";
import { Judge } from "./verdict.ts";
import { FuzzWorld } from "./world.ts";

/** How much to ask, and where the dice begin. */
export interface FuzzOptions {
  readonly seed: number;
  readonly requests: number;
  /** Only operations with such an id. */
  readonly only?: RegExp;
  /** Stops earlier when the time is over, in ms. */
  readonly forMs?: number;
}

/** Something that should not have been answered, how often, and the first request that got it. */
interface Finding {
  readonly operation: string;
  readonly problem: string;
  readonly times: number;
  readonly request: string;
}

/** What a run saw. */
export interface FuzzReport {
  readonly sent: number;
  /** How many answers had each status. */
  readonly statuses: Readonly<Record<string, number>>;
  readonly findings: readonly Finding[];
  /** Operations that never succeeded: what lies behind their checks was not reached. */
  readonly neverSucceeded: readonly string[];
  /** The 5xx among the answers that are as documented, for a person to look at. */
  readonly serverErrors: readonly string[];
}

/** Sends requests made from the server's own document, right ones and spoiled ones, and judges every answer by it. */
export async function fuzz(
  server: RealServer,
  { seed, requests, only = /^/, forMs = Infinity }: FuzzOptions,
): Promise<FuzzReport> {
  const { body: document } = await rawCall(server, "/openapi.json");
  const operations = operationsOf(document).filter(({ id }) => only.test(id));
  const judge = new Judge(document);
  const world = new FuzzWorld(server);
  await world.prepare();
  using sender = new Sender(server.baseUrl);
  const findings = new Map<string, Finding>();
  const statuses: Record<string, number> = {};
  const serverErrors: string[] = [];
  const succeeded = new Set<string>();
  const untilMs = performance.now() + forMs;
  let sent = 0;
  for (; sent < requests && performance.now() < untilMs; sent += 1) {
    const random = new Random(seed, sent);
    // Each operation in turn, so that a short run knows them all.
    const operation = operations[(sent + seed) % operations.length];
    if (operation === undefined) throw new Error("the document has no operation");
    const right = requestOf(operation, server.apiKey, { random, known: world.known(random) });
    const request = random.chance(0.6) ? spoiled(right, random) : right;
    const note = (problem: string): void => {
      const found = findings.get(`${operation.id} ${problem}`);
      findings.set(`${operation.id} ${problem}`, {
        operation: operation.id,
        problem,
        times: (found?.times ?? 0) + 1,
        request: found?.request ?? `#${String(sent)} of seed ${String(seed)}: ${shown(request, server.apiKey)}`,
      });
    };
    try {
      const answer = await sender.send(request);
      statuses[answer.status] = (statuses[answer.status] ?? 0) + 1;
      if (answer.status < 300) succeeded.add(operation.id);
      if (answer.status >= 500) serverErrors.push(`${shown(request, server.apiKey)} → ${answer.body.toString()}`);
      for (const problem of judge.problems(operation, request, answer)) note(problem);
      await world.learn(operation.id, answer.status, parsed(answer.body));
    } catch (error) {
      note(`no answer: ${String(error)}`);
    }
  }
  const neverSucceeded = operations.map(({ id }) => id).filter((id) => !succeeded.has(id));
  return { sent, statuses, findings: [...findings.values()], neverSucceeded, serverErrors };
}

/** A request as a person can repeat it; what is long is cut. */
function shown({ method, path, query, headers, body, mutations }: FuzzRequest, apiKey: string): string {
  const url = `${path}${query.length === 0 ? "" : `?${query.join("&")}`}`;
  const content = body === undefined ? "no body" : JSON.stringify(body.subarray(0, 300).toString("latin1"));
  const text = `${method} ${url.slice(0, 300)} ${JSON.stringify(headers).slice(0, 300)} ${content} [${mutations.join(", ")}]`;
  return text.replaceAll(apiKey, "KEY");
}

function parsed(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch {
    return undefined;
  }
}

import type { BenchServer } from "./bench-server.ts";

export interface StartedSandbox {
  readonly sessionId: string;
  readonly vmId: string;
  readonly createMs: number;
  readonly firstResultMs: number;
}

/** A field of an answer that is a text. */
export function textField(answer: Record<string, unknown>, name: string): string {
  const value = answer[name];
  if (typeof value !== "string") throw new Error(`the answer's ${name} is ${typeof value}, expected a string`);
  return value;
}

/** Runs code in a session and checks what it printed; resolves with the call's duration in ms. */
export async function execute(
  server: BenchServer,
  call: {
    readonly sessionId: string;
    readonly language: "python" | "bash";
    readonly code: string;
    readonly prints: string;
  },
): Promise<number> {
  const startedAt = performance.now();
  const answer = await server.client.call("POST", "/execute", {
    session_id: call.sessionId,
    language: call.language,
    command: call.code,
  });
  const durationMs = performance.now() - startedAt;
  if (answer["stdout"] !== call.prints) {
    throw new Error(
      `${call.code} printed ${JSON.stringify(answer["stdout"])}, expected ${JSON.stringify(call.prints)}`,
    );
  }
  return durationMs;
}

/** The public "time to interactive": create a sandbox, then its first Python result, over HTTP. Its lifetime is the server's default, or what is given. */
export async function createToFirstResult(
  server: BenchServer,
  seed: number,
  lifetimeS?: number,
): Promise<StartedSandbox> {
  const startedAt = performance.now();
  const session = await server.client.call("POST", "/v1/sessions/session", { vm_lifetime_seconds: lifetimeS });
  const createMs = performance.now() - startedAt;
  const sessionId = textField(session, "session_id");
  await execute(server, { sessionId, language: "python", code: `print(${seed}*7)`, prints: `${seed * 7}\n` });
  return { sessionId, vmId: textField(session, "vm_id"), createMs, firstResultMs: performance.now() - startedAt };
}

export async function kill(server: Pick<BenchServer, "client">, sessionId: string): Promise<void> {
  await server.client.call("POST", "/kill", { session_id: sessionId });
}

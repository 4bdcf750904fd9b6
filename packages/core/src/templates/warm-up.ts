import { InstaVmError } from "@instavm/contract";
import type { ActivateRequest, AgentSession } from "../ports/agent-link.ts";
import type { Clock, Log } from "../ports/surroundings.ts";
import { isLinkFailure, readCall } from "../vm/agent-calls.ts";
import { joinSignals, startDeadline } from "../waiting/deadline.ts";
import type { WarmUpStep } from "./warm-up-steps.ts";

const guestLimitMs = 60_000;
const stepTimeoutMs = 90_000;
const outputLimitBytes = 64 * 1024;

/** What a warm-up needs beside the agent. */
export interface WarmUpParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
  /** For the step that takes one. */
  readonly newIdentity: () => ActivateRequest;
}

/** Runs the steps one after the other. Rejects when the agent stops answering or an essential step fails. */
export async function warmUp(session: AgentSession, steps: readonly WarmUpStep[], parts: WarmUpParts): Promise<void> {
  for (const step of steps) {
    const failure = await attempt(session, step, parts);
    if (failure === undefined) continue;
    if (step.isEssential) {
      throw new InstaVmError("guest_failure", `the warm-up step ${nameOf(step)} failed: ${failure}; expected success`, {
        next: "The image may be broken: run script/setup to build it again.",
      });
    }
    parts.log.warn("warm_up.step_failed", { step: nameOf(step), failure });
  }
}

/** Returns what went wrong in the guest, if anything did. */
async function attempt(session: AgentSession, step: WarmUpStep, parts: WarmUpParts): Promise<string | undefined> {
  using deadline = startDeadline(parts.clock, {
    timeoutMs: stepTimeoutMs,
    expired: () =>
      new InstaVmError("guest_unreachable", `the warm-up step ${nameOf(step)} did not end within ${stepTimeoutMs} ms`),
  });
  const signal = joinSignals(deadline.signal, parts.signal);
  try {
    return await run(session, step, { ...parts, signal });
  } catch (error) {
    if (signal.aborted || isLinkFailure(error) || !(error instanceof InstaVmError)) throw error;
    return error.message;
  }
}

async function run(session: AgentSession, step: WarmUpStep, parts: WarmUpParts): Promise<string | undefined> {
  const { signal } = parts;
  if (step.kind === "file") return moveFile(session, step, signal);
  if (step.kind === "identity") {
    await session.activate(parts.newIdentity(), { signal });
    return undefined;
  }
  const limits = { limitMs: guestLimitMs, outputLimitBytes };
  const call =
    step.kind === "code"
      ? session.runCode({ code: step.code, language: step.language, ...limits }, { signal })
      : session.exec({ command: { argv: step.argv }, ...limits }, { signal });
  const { exitCode } = await readCall<{ readonly exitCode: number }>(call, () => {});
  const expected = step.kind === "code" ? step.exitCode : 0;
  return exitCode === expected ? undefined : `exit code ${exitCode} instead of ${expected}`;
}

async function moveFile(
  session: AgentSession,
  step: WarmUpStep & { kind: "file" },
  signal: AbortSignal,
): Promise<string | undefined> {
  await session.writeFile(step.path, new Uint8Array(step.bytes), { signal });
  let bytes = 0;
  for await (const chunk of session.readFile(step.path, { signal })) bytes += chunk.byteLength;
  return bytes === step.bytes ? undefined : `read ${bytes} bytes back instead of ${step.bytes}`;
}

function nameOf(step: WarmUpStep): string {
  if (step.kind === "code") return `${step.language}: ${step.code.slice(0, 40)}`;
  if (step.kind === "identity") return "a throw-away identity";
  return step.kind === "program" ? step.argv.join(" ") : step.path;
}

import { InstaVmError, isInstaVmError } from "instavm";
import type { Connection } from "./connection.ts";
import { formatMs, say } from "./terminal.ts";

/** Which session a command works in. */
export interface SessionChoice {
  readonly connection: Connection;
  /** An id; without it the session of the last call, or a new one. */
  readonly session: string | undefined;
  readonly signal: AbortSignal;
}

/** Works in the session that was named, the remembered one or a new one; what is new is said. */
export async function inSession<Result>(
  choice: SessionChoice,
  work: (sessionId: string, isNew: boolean) => Promise<Result>,
): Promise<Result> {
  const { sessions, settings } = choice.connection;
  if (choice.session !== undefined) return await work(choice.session, false);
  const remembered = sessions.find(settings.baseUrl);
  if (remembered === undefined) return await work(await startSession(choice), true);
  try {
    return await work(remembered, false);
  } catch (error) {
    if (!isInstaVmError(error, "session_not_found")) throw error;
    say("the session of the last call has ended; starting another");
    sessions.forget(settings.baseUrl);
    return await work(await startSession(choice), true);
  }
}

/** The session that was named, or the remembered one. Throws `session_not_found` when none is. */
export function namedSession({ sessions, settings }: Connection, session: string | undefined): string {
  const found = session ?? sessions.find(settings.baseUrl);
  if (found !== undefined) return found;
  throw new InstaVmError("session_not_found", "No session is remembered.", {
    next: "Name one with --session; `instavm session ls` shows them.",
  });
}

async function startSession({ connection, signal }: SessionChoice): Promise<string> {
  say("starting a microVM");
  const started = performance.now();
  const { sessionId } = await connection.client.createSession({ signal });
  say(`vm ready in ${formatMs(performance.now() - started)} | own kernel, no network`);
  connection.sessions.remember(connection.settings.baseUrl, sessionId);
  return sessionId;
}

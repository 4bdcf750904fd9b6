import { InstaVmError } from "instavm";
import type { InstaVm } from "instavm";
import { connect } from "./connection.ts";
import type { CommandOptions } from "./connection.ts";
import { table } from "./table.ts";
import { print, printJson, say } from "./terminal.ts";

export interface CloseOptions extends CommandOptions {
  /** An id; without it the remembered session. */
  readonly session?: string;
}

/** Ends a session with its VM. One that has ended already, or none at all, is no error. */
export async function closeSession(options: CloseOptions, signal: AbortSignal): Promise<void> {
  const { settings, client, sessions } = connect(options);
  const remembered = sessions.find(settings.baseUrl);
  const sessionId = options.session ?? remembered;
  const closed = sessionId === undefined ? false : await kill(client, sessionId, signal);
  if (sessionId !== undefined && sessionId === remembered) sessions.forget(settings.baseUrl);
  if (options.json === true) {
    await printJson({ session_id: sessionId ?? null, closed });
  } else if (sessionId === undefined) {
    say("no session is open");
  } else {
    say(closed ? "vm terminated | filesystem destroyed" : "the session had ended already");
  }
}

async function kill(client: InstaVm, sessionId: string, signal: AbortSignal): Promise<boolean> {
  try {
    await client.kill(sessionId, { signal });
    return true;
  } catch (error) {
    if (error instanceof InstaVmError && error.code === "session_not_found") return false;
    throw error;
  }
}

/** Lists the live sessions of the key, newest first; the remembered one is marked. */
export async function listSessions(options: CommandOptions, signal: AbortSignal): Promise<void> {
  const { settings, client, sessions } = connect(options);
  const live = await client.call("listSandboxes", { query: { limit: 1000 } }, { signal });
  if (options.json === true) {
    await printJson({ sandboxes: live });
  } else if (live.length === 0) {
    say("no session is open");
  } else {
    const remembered = sessions.find(settings.baseUrl);
    const rows = live.map((one) => [
      one.session_id === remembered ? "*" : "",
      one.session_id,
      one.vm_id ?? "-",
      one.status,
      one.started_at,
      one.end_at,
    ]);
    await print(process.stdout, table(["", "SESSION", "VM", "STATUS", "STARTED", "ENDS"], rows));
  }
}

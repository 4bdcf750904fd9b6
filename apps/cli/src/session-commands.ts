import { InstaVm, InstaVmError } from "instavm";
import type { SandboxSummary } from "instavm";
import { RememberedSessions } from "./remembered-sessions.ts";
import { configDirectory, ownSurroundings, readSettings } from "./settings.ts";
import type { ServerOptions, Settings } from "./settings.ts";
import { print, say } from "./terminal.ts";

export interface SessionCommandOptions extends ServerOptions {
  readonly json?: boolean;
}

interface Reach {
  readonly settings: Settings;
  readonly client: InstaVm;
  readonly sessions: RememberedSessions;
}

function reach(options: ServerOptions): Reach {
  const surroundings = ownSurroundings();
  const settings = readSettings(options, surroundings);
  return { settings, client: new InstaVm(settings), sessions: new RememberedSessions(configDirectory(surroundings)) };
}

export interface CloseOptions extends SessionCommandOptions {
  /** An id; without it the remembered session. */
  readonly session?: string;
}

/** Ends a session with its VM. One that has ended already, or none at all, is no error. */
export async function closeSession(options: CloseOptions, signal: AbortSignal): Promise<void> {
  const { settings, client, sessions } = reach(options);
  const remembered = sessions.find(settings.baseUrl);
  const sessionId = options.session ?? remembered;
  const closed = sessionId === undefined ? false : await kill(client, sessionId, signal);
  if (sessionId !== undefined && sessionId === remembered) sessions.forget(settings.baseUrl);
  if (options.json === true) {
    await print(process.stdout, `${JSON.stringify({ session_id: sessionId ?? null, closed })}\n`);
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
export async function listSessions(options: SessionCommandOptions, signal: AbortSignal): Promise<void> {
  const { settings, client, sessions } = reach(options);
  const live = await client.listSessions({ signal, limit: 1000 });
  if (options.json === true) {
    await print(process.stdout, `${JSON.stringify({ sandboxes: live.map(toJson) }, null, 2)}\n`);
  } else if (live.length === 0) {
    say("no session is open");
  } else {
    await print(process.stdout, table(live, sessions.find(settings.baseUrl)));
  }
}

function table(live: readonly SandboxSummary[], remembered: string | undefined): string {
  const rows = [
    ["", "SESSION", "VM", "STATUS", "STARTED", "ENDS"],
    ...live.map((one) => [
      one.sessionId === remembered ? "*" : "",
      one.sessionId,
      one.vmId ?? "-",
      one.status,
      one.startedAt,
      one.endsAt,
    ]),
  ];
  const widths = rows.reduce<readonly number[]>(
    (widest, row) => row.map((cell, column) => Math.max(cell.length, widest[column] ?? 0)),
    [],
  );
  const lines = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  "));
  return `${lines.map((line) => line.trimEnd()).join("\n")}\n`;
}

/** The server's own names. */
function toJson(sandbox: SandboxSummary): Record<string, unknown> {
  return {
    session_id: sandbox.sessionId,
    vm_id: sandbox.vmId ?? null,
    status: sandbox.status,
    metadata: sandbox.metadata,
    started_at: sandbox.startedAt,
    end_at: sandbox.endsAt,
  };
}

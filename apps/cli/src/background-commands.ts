import { InstaVmError } from "instavm";
import type { CommandOutput, InstaVm, OperationInput, Operations, SignalName } from "instavm";
import { readCode } from "./code-source.ts";
import { connect } from "./connection.ts";
import type { CommandOptions } from "./connection.ts";
import type { ExecuteCommandOptions } from "./execute-command.ts";
import { sayEnding } from "./how-it-ended.ts";
import { inSession, namedSession } from "./run-session.ts";
import { plain, table } from "./table.ts";
import { print, printJson, say } from "./terminal.ts";

/** A command as the server shows it. */
type CommandAnswer = Awaited<ReturnType<typeof InstaVm.prototype.call<"getCommand">>>;
type StartRequest = OperationInput<Operations["startCommand"]>["body"];

export interface DetachOptions extends ExecuteCommandOptions {
  readonly tag?: string;
}

/** Starts code as a program in the background of a VM and prints its id. */
export async function execDetached(options: DetachOptions, signal: AbortSignal): Promise<void> {
  const connection = connect(options);
  const code = await readCode(options.source);
  const { timeout, tag } = options;
  const started = await inSession({ connection, session: options.session, signal }, async (sessionId) => {
    const body = { ...programOf(code, options), tag, timeout };
    const input = { params: await vmOf(connection.client, sessionId, signal), body };
    return await connection.client.call("startCommand", input, { signal });
  });
  if (options.json === true) {
    await printJson(started);
  } else {
    await print(process.stdout, `${String(started.command_id)}\n`);
    say(`instavm commands logs ${String(started.command_id)} --follow shows what it prints`);
  }
}

/** Bash, unless the language or the name of the file says otherwise. */
function programOf(code: string, { language, source }: DetachOptions): NonNullable<StartRequest> {
  const name = source.file ?? "";
  if (language === "python" || (language === undefined && name.endsWith(".py")))
    return { argv: ["python3", "-uc", code] };
  if (language === "javascript" || (language === undefined && /\.[cm]?js$/.test(name))) {
    return { argv: ["node", "-e", code] };
  }
  return { command: code };
}

interface OfSessionOptions extends CommandOptions {
  /** An id; without it the session of the last call. */
  readonly session?: string;
}

export interface ListCommandsOptions extends OfSessionOptions {
  readonly tag?: string;
}

/** Lists the commands of a session's VM. */
export async function listCommands(options: ListCommandsOptions, signal: AbortSignal): Promise<void> {
  const connection = connect(options);
  const params = await vmOf(connection.client, namedSession(connection, options.session), signal);
  const query = { tag: options.tag };
  const commands = await connection.client.call("listCommands", { params, query }, { signal });
  if (options.json === true) await printJson({ commands });
  else if (commands.length === 0) say("there is no command; `instavm exec --detach` starts one");
  else await print(process.stdout, commandTable(commands));
}

function commandTable(commands: readonly CommandAnswer[]): string {
  const rows = commands.map((one) => [
    String(one.command_id),
    stateOf(one),
    one.started_at,
    plain(one.tag ?? "-"),
    plain(one.command.trim().split("\n")[0] ?? ""),
  ]);
  return table(["ID", "STATE", "STARTED", "TAG", "COMMAND"], rows);
}

function stateOf({ is_running: isRunning, exit_code: exitCode, signal }: CommandAnswer): string {
  if (isRunning) return "running";
  return signal === null ? `exit ${String(exitCode)}` : `signal ${String(signal)}`;
}

export interface LogsOptions extends OfSessionOptions {
  /** Until it ends. */
  readonly follow?: boolean;
  /** Of the first byte. */
  readonly offset?: number;
}

/** Prints what a command printed. Resolves with its exit code when its end was waited for, else with 0. */
export async function showLogs(id: number, options: LogsOptions, signal: AbortSignal): Promise<number> {
  const connection = connect(options);
  const commands = connection.client.commands(namedSession(connection, options.session));
  const command = await commands.attach(id, { signal });
  const follow = options.follow === true;
  for await (const event of command.output({ signal, follow, offset: options.offset ?? 0 })) {
    // A reader that has left is no failure.
    if (!(await show(event, options.json === true))) return 0;
    if (event.type !== "exit" || !follow) continue;
    sayEnding({ timedOut: event.timedOut, truncated: false, outOfMemory: event.outOfMemory });
    return event.exitCode ?? 1;
  }
  return 0;
}

/** Resolves with false when nobody reads. */
async function show(event: CommandOutput, isJson: boolean): Promise<boolean> {
  if (isJson) return await print(process.stdout, `${JSON.stringify(inServersWords(event))}\n`);
  if (event.type === "stdout") return await print(process.stdout, event.text);
  if (event.type === "stderr") return await print(process.stderr, event.text);
  if (event.type === "dropped") say(`${String(event.bytes)} bytes of output are gone`);
  return true;
}

function inServersWords(event: CommandOutput): unknown {
  const { type } = event;
  if (type === "dropped") return { type, dropped_bytes: event.bytes, offset: event.offset };
  if (type !== "exit") return { type, text: event.text, offset: event.offset, next_offset: event.nextOffset };
  const { exitCode, signal, timedOut, outOfMemory } = event;
  return {
    type,
    exit_code: exitCode ?? null,
    signal: signal ?? null,
    timed_out: timedOut,
    out_of_memory: outOfMemory,
  };
}

export interface SignalOptions extends OfSessionOptions {
  /** By default SIGTERM. */
  readonly signal?: SignalName | number;
}

/** Sends a signal to a command. */
export async function killCommand(id: number, options: SignalOptions, signal: AbortSignal): Promise<void> {
  const connection = connect(options);
  const { vm_id } = await vmOf(connection.client, namedSession(connection, options.session), signal);
  const wanted = options.signal ?? "SIGTERM";
  const input = { params: { vm_id, command_id: id }, body: { signal: wanted } };
  const after = await connection.client.call("signalCommand", input, { signal });
  if (options.json === true) await printJson(after);
  else say(after.is_running ? `command ${String(id)} got ${String(wanted)}` : `command ${String(id)} has ended`);
}

async function vmOf(client: InstaVm, sessionId: string, signal: AbortSignal): Promise<{ readonly vm_id: string }> {
  const { vm_id: vmId } = await client.call("getSession", { params: { session_id: sessionId } }, { signal });
  if (vmId !== null) return { vm_id: vmId };
  throw new InstaVmError("vm_lost", `Session ${sessionId} has no VM at the moment.`, {
    next: "Run code in the session: that starts one.",
  });
}

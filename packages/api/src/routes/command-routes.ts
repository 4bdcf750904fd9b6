import { commandLimitBytes, fileLimitBytes, InstaVmError, operations } from "@instavm/contract";
import type { CommandId, SignalName, StartCommandRequest, VmId } from "@instavm/contract";
import type { CommandPlace, Commands, StartProcessRequest } from "@instavm/core";
import { commandAnswer } from "../answers/command-answers.ts";
import { requestBytes } from "../http/request-bytes.ts";
import { keyRoute, streamRoute } from "../http/route.ts";
import type { Route } from "../http/route.ts";
import { tooLarge } from "../http/too-large.ts";
import { streamOutput } from "./command-output.ts";

/** What the routes stand on. */
export interface CommandParts {
  readonly commands: Commands;
  /** Of streams of output. */
  readonly heartbeatMs: number;
}

/** /v1/vms/{vm_id}/commands. */
export function commandRoutes({ commands, heartbeatMs }: CommandParts): readonly Route[] {
  return [
    keyRoute(operations.startCommand, async ({ caller, params: { vm_id: vmId }, body, signal }) => {
      const started = await commands.start(caller, { vm: { vmId }, ...requestOf(body) }, { signal });
      return commandAnswer(vmId, started);
    }),
    keyRoute(operations.listCommands, async ({ caller, params: { vm_id: vmId }, query: { tag }, signal }) => {
      const listed = await commands.list(caller, { vmId }, { signal });
      const wanted = tag === undefined ? listed : listed.filter((each) => each.tag === tag);
      return wanted.map((each) => commandAnswer(vmId, each));
    }),
    keyRoute(operations.getCommand, async ({ caller, params, query, signal }) => {
      const asked = { ...placeOf(params), waitMs: query.wait * 1000 };
      return commandAnswer(params.vm_id, await commands.get(caller, asked, { signal }));
    }),
    keyRoute(operations.deleteCommand, async ({ caller, params, signal }) => {
      const { vm_id, command_id } = params;
      await commands.forget(caller, placeOf(params), { signal });
      return { message: `Command ${command_id} has ended and is forgotten.`, id: command_id, command_id, vm_id };
    }),
    streamRoute(operations.writeStdin, async ({ caller, params, query, signal, request }) => {
      const content = requestBytes(request, fileLimitBytes);
      const written = { ...placeOf(params), content, close: query.close === "true" };
      return { size: await commands.writeStdin(caller, written, { signal }) };
    }),
    keyRoute(operations.signalCommand, async ({ caller, params, body, signal }) => {
      const number = typeof body.signal === "number" ? body.signal : signalNumbers[body.signal];
      const asked = { ...placeOf(params), signal: number };
      return commandAnswer(params.vm_id, await commands.signal(caller, asked, { signal }));
    }),
    streamRoute(operations.readOutput, async (call) => {
      const { params, query } = call;
      const { offset, from_end: fromEnd, follow } = query;
      const part = { ...placeOf(params), offset, fromEnd: fromEnd === "true", follow: follow === "true" };
      return streamOutput({ ...call, commands, vmId: params.vm_id, part, heartbeatMs });
    }),
  ];
}

/** As Linux numbers them. */
const signalNumbers: Readonly<Record<SignalName, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGKILL: 9,
  SIGUSR1: 10,
  SIGUSR2: 12,
  SIGALRM: 14,
  SIGTERM: 15,
  SIGCONT: 18,
  SIGSTOP: 19,
  SIGTSTP: 20,
  SIGWINCH: 28,
};

function placeOf(params: { readonly vm_id: VmId; readonly command_id: CommandId }): CommandPlace {
  return { vm: { vmId: params.vm_id }, processId: params.command_id };
}

function requestOf(body: StartCommandRequest): StartProcessRequest {
  const { cwd, user, tag, timeout, env, stdin } = body;
  return {
    command: programOf(body),
    openStdin: stdin,
    env: env ?? {},
    ...(typeof cwd === "string" ? { cwd } : {}),
    ...(typeof user === "string" ? { user } : {}),
    ...(typeof tag === "string" ? { tag } : {}),
    ...(typeof timeout === "number" ? { limitMs: timeout * 1000 } : {}),
  };
}

function programOf({ command, argv }: StartCommandRequest): StartProcessRequest["command"] {
  if (Array.isArray(argv)) return { argv };
  if (typeof command !== "string") throw new InstaVmError("invalid", "The body has neither command nor argv.");
  const bytes = Buffer.byteLength(command);
  if (bytes > commandLimitBytes) throw tooLarge("The command", bytes, commandLimitBytes);
  return { script: command };
}

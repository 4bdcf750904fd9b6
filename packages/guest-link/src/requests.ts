import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { InstaVmError } from "@instavm/contract";
import type {
  ActivateRequest,
  CreateContextRequest,
  ExecRequest,
  GuestPath,
  RunCodeRequest,
  StartProcessRequest,
} from "@instavm/core";
import { type ExecSchema, Language, OpenSchema } from "@instavm/protocol/guest";
import { pathBytes } from "./guest-path.ts";

/** One of the calls of `Open`. */
export type OpenCall = NonNullable<MessageInitShape<typeof OpenSchema>["call"]>;

/** A call whose first message may not hold all of it: `rest` follows as input data. */
export interface CallWithRest {
  readonly call: OpenCall;
  readonly rest: Uint8Array | undefined;
}

/** Longer code and scripts are streamed. */
const inlineBytes = 65_536;
/** A script together with open stdin cannot be streamed: both would be input data. */
const inlineScriptBytes = 200_000;

/** The payload of an OPEN frame. */
export function encodeOpen(call: OpenCall, creditBytes: number): Uint8Array {
  return toBinary(OpenSchema, create(OpenSchema, { creditBytes, call }));
}

/** `lateMs` is what has passed since the caller read its clock. */
export function activateCall(request: ActivateRequest, lateMs: number): OpenCall {
  const { identity } = request;
  return {
    case: "activate",
    value: {
      unixTimeNs: nanoseconds(request.unixTimeMs + lateMs),
      env: { ...request.env },
      keepIdentity: identity === undefined,
      ...(identity === undefined
        ? {}
        : { entropy: Uint8Array.from(identity.entropy), hostname: identity.hostname, machineId: identity.machineId }),
    },
  };
}

export function setClockCall(unixTimeMs: number): OpenCall {
  return { case: "setClock", value: { unixTimeNs: nanoseconds(unixTimeMs) } };
}

/** Throws `too_large` for a long script with open stdin. */
export function execCall(request: ExecRequest): CallWithRest {
  const { value, rest } = execValue(request);
  return { call: { case: "exec", value }, rest };
}

/** A process that outlives the call. Throws `too_large` for a long script with open stdin. */
export function startProcessCall(request: StartProcessRequest): CallWithRest {
  const { value, rest } = execValue(request);
  return { call: { case: "startProcess", value: { exec: value, tag: request.tag ?? "" } }, rest };
}

interface ExecWithRest {
  readonly value: MessageInitShape<typeof ExecSchema>;
  readonly rest: Uint8Array | undefined;
}

function execValue(request: ExecRequest): ExecWithRest {
  const options = {
    cwd: request.cwd ?? "",
    env: { ...request.env },
    user: request.user ?? "",
    timeoutMs: limitMs(request.limitMs),
    outputLimitBytes: limitBytes(request.outputLimitBytes),
    openStdin: request.openStdin ?? false,
  };
  const { command } = request;
  if ("argv" in command) return { value: { ...options, argv: [...command.argv] }, rest: undefined };
  const bytes = Buffer.byteLength(command.script);
  if (bytes <= (options.openStdin ? inlineScriptBytes : inlineBytes)) {
    return { value: { ...options, script: command.script }, rest: undefined };
  }
  if (options.openStdin) {
    throw new InstaVmError(
      "too_large",
      `The script has ${bytes} bytes; with open stdin at most ${inlineScriptBytes} are allowed.`,
      {
        next: "Write the script to a file in the VM first, and run that.",
      },
    );
  }
  return { value: { ...options, scriptFollows: true }, rest: Buffer.from(command.script) };
}

/** Code beyond 64 KiB follows as `rest`. */
export function runCodeCall(request: RunCodeRequest): CallWithRest {
  const code = new TextEncoder().encode(request.code);
  const isLong = code.length > inlineBytes;
  return {
    call: {
      case: "runCode",
      value: {
        contextId: request.contextId ?? "",
        language: languageOf(request),
        code: isLong ? new Uint8Array(0) : code,
        codeFollows: isLong,
        timeoutMs: limitMs(request.limitMs),
        outputLimitBytes: limitBytes(request.outputLimitBytes),
        env: { ...request.env },
      },
    },
    rest: isLong ? code : undefined,
  };
}

/** The agent knows the languages of its contexts. */
function languageOf({ contextId, language }: RunCodeRequest): Language {
  return contextId !== undefined && language === "detect" ? Language.UNSPECIFIED : wireLanguages[language];
}

/** `cwd` undefined means the image's workdir. */
export function createContextCall({ language, cwd = "", env = {} }: CreateContextRequest): OpenCall {
  return { case: "createContext", value: { language: wireLanguages[language], cwd, env: { ...env } } };
}

const wireLanguages = {
  python: Language.PYTHON,
  javascript: Language.JAVASCRIPT,
  bash: Language.BASH,
  detect: Language.DETECT,
} as const satisfies Record<RunCodeRequest["language"], Language>;

/** `length` 0 means to the end. Throws `invalid` for numbers that are no counts. */
export function readFileCall(path: GuestPath, range: { readonly offset: number; readonly length: number }): OpenCall {
  const offset = BigInt(count("offset", range.offset));
  return { case: "readFile", value: { path: pathBytes(path), offset, length: BigInt(count("length", range.length)) } };
}

/** Throws `invalid` for numbers that are no counts. */
export function writeFileCall(
  path: GuestPath,
  options: { readonly mode?: number; readonly makeParents?: boolean; readonly limitBytes?: number },
): OpenCall {
  const mode = permissionBits(options.mode ?? 0);
  const { makeParents = false, limitBytes: limit } = options;
  return { case: "writeFile", value: { path: pathBytes(path), mode, makeParents, sizeLimitBytes: limitBytes(limit) } };
}

/** Throws `invalid` for what no mode is. */
export function permissionBits(mode: number): number {
  if (count("mode", mode) <= 0o7777) return mode;
  throw new InstaVmError("invalid", `mode is ${mode}; expected permission bits up to 0o7777.`);
}

/** A whole number from 0. Throws `invalid`. */
export function count(name: string, value: number): number {
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new InstaVmError("invalid", `${name} is ${value}; expected a whole number from 0.`);
}

/** In ms; 0 on the wire means no limit, so less than 1 ms becomes 1. */
function limitMs(value: number | undefined): number {
  return value === undefined ? 0 : Math.min(Math.max(Math.round(value), 1), 0xff_ff_ff_ff);
}

/** In bytes; 0 on the wire means no limit. */
export function limitBytes(value: number | undefined): bigint {
  return value === undefined ? 0n : BigInt(Math.max(Math.round(value), 1));
}

/** Whole ms and the rest apart: a double cannot hold today's nanoseconds. */
function nanoseconds(unixTimeMs: number): bigint {
  const wholeMs = Math.floor(unixTimeMs);
  return BigInt(wholeMs) * 1_000_000n + BigInt(Math.floor((unixTimeMs - wholeMs) * 1_000_000));
}

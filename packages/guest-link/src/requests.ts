import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { InstaVmError } from "@instavm/contract";
import type { ActivateRequest, ExecRequest, RunCodeRequest } from "@instavm/core";
import { Language, OpenSchema } from "@instavm/protocol/guest";

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

/** Throws `invalid` when a string cannot be sent. */
export function encodeOpen(call: OpenCall, creditBytes: number): Uint8Array {
  try {
    return toBinary(OpenSchema, create(OpenSchema, { creditBytes, call }));
  } catch (error) {
    throw new InstaVmError("invalid", `The request for the VM holds a value that cannot be sent: ${String(error)}.`, {
      cause: error,
    });
  }
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

/** Throws `too_large` for a long script with open stdin. */
export function execCall(request: ExecRequest): CallWithRest {
  const options = {
    cwd: request.cwd ?? "",
    env: { ...request.env },
    user: request.user ?? "",
    timeoutMs: limitMs(request.limitMs),
    outputLimitBytes: limitBytes(request.outputLimitBytes),
    openStdin: request.openStdin ?? false,
  };
  const { command } = request;
  if ("argv" in command) {
    return { call: { case: "exec", value: { ...options, argv: [...command.argv] } }, rest: undefined };
  }
  const bytes = Buffer.byteLength(command.script);
  if (bytes <= (options.openStdin ? inlineScriptBytes : inlineBytes)) {
    return { call: { case: "exec", value: { ...options, script: command.script } }, rest: undefined };
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
  return { call: { case: "exec", value: { ...options, scriptFollows: true } }, rest: Buffer.from(command.script) };
}

export function runCodeCall(request: RunCodeRequest): CallWithRest {
  const code = new TextEncoder().encode(request.code);
  const isLong = code.length > inlineBytes;
  return {
    call: {
      case: "runCode",
      value: {
        contextId: request.contextId ?? "",
        language: wireLanguages[request.language],
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

const wireLanguages = {
  python: Language.PYTHON,
  javascript: Language.JAVASCRIPT,
  bash: Language.BASH,
  detect: Language.DETECT,
} as const satisfies Record<RunCodeRequest["language"], Language>;

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

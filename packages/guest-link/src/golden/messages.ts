import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  ActivatedSchema,
  ActivateSchema,
  ClockSetSchema,
  CodeEndedSchema,
  CodeErrorSchema,
  ContextListSchema,
  ContextSchema,
  CreateContextSchema,
  DeleteContextSchema,
  DisplaySchema,
  ExecEndedSchema,
  ExecSchema,
  FailureCode,
  FailureSchema,
  FileReadSchema,
  FileWrittenSchema,
  InputSchema,
  InterruptContextSchema,
  Language,
  ListContextsSchema,
  OpenSchema,
  OutcomeSchema,
  OutputSchema,
  PingSchema,
  PongSchema,
  ReadFileSchema,
  RestartContextSchema,
  RunCodeSchema,
  SetClockSchema,
  StartedSchema,
  StatsReportSchema,
  StatsSchema,
  WriteFileSchema,
} from "@instavm/protocol/guest";
import { ascii, counting } from "./bytes.ts";
import { fileVectors } from "./file-messages.ts";
import { type MessageVector, vector } from "./message-vector.ts";
import { processVectors } from "./process-messages.ts";

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const emptyMap = {};

/** Maps hold one entry at most: their order on the wire is free. */
const calls = (): MessageVector[] => [
  vector("ping, empty", PingSchema, {}),
  vector("ping", PingSchema, { payload: counting(8) }),
  vector("activate a clone", ActivateSchema, {
    entropy: counting(32, 0x80),
    unixTimeNs: 1_767_225_600_123_456_789n,
    hostname: "sandbox",
    machineId: "0123456789abcdef0123456789abcdef",
    env: { GREETING: "grüß dich" },
  }),
  vector("activate a pooled VM", ActivateSchema, {
    unixTimeNs: 1_767_225_600_000_000_000n,
    env: emptyMap,
    keepIdentity: true,
  }),
  vector("activate, the most entropy", ActivateSchema, { entropy: counting(256) }),
  vector("set the clock", SetClockSchema, { unixTimeNs: 18_446_744_073_709_551_615n }),
  vector("stats", StatsSchema, {}),
  vector("exec argv", ExecSchema, {
    argv: ["/bin/echo", "a b", ""],
    cwd: "/app",
    env: { A: "1" },
    user: "user",
    timeoutMs: 60_000,
    outputLimitBytes: 1n << 40n,
  }),
  vector("exec script", ExecSchema, { script: "echo 'hé' | cat\n", openStdin: true }),
  vector("exec a script that follows", ExecSchema, { scriptFollows: true, timeoutMs: 4_294_967_295 }),
  vector("run code", RunCodeSchema, {
    contextId: "c1",
    language: Language.PYTHON,
    code: utf8("print('π')\n"),
    timeoutMs: 250,
    outputLimitBytes: 64n * 1024n * 1024n,
    env: { B: "" },
    cwd: "/tmp",
  }),
  vector("run code that follows", RunCodeSchema, { language: Language.DETECT, codeFollows: true }),
  vector("create a context", CreateContextSchema, {
    language: Language.JAVASCRIPT,
    cwd: "/app",
    env: { NODE_ENV: "test" },
  }),
  vector("restart a context", RestartContextSchema, { contextId: "c1" }),
  vector("restart the default context", RestartContextSchema, {}),
  vector("interrupt a context", InterruptContextSchema, { contextId: "c1" }),
  vector("delete a context", DeleteContextSchema, { contextId: "c1" }),
  vector("list contexts", ListContextsSchema, {}),
  vector("read a file", ReadFileSchema, { path: utf8("/etc/hostname"), offset: 1n, length: 9_007_199_254_740_993n }),
  vector("write a file", WriteFileSchema, {
    path: utf8("data/ü.bin"),
    mode: 0o755,
    makeParents: true,
    sizeLimitBytes: 1_048_576n,
  }),
];

const answers = (): MessageVector[] => [
  vector("pong", PongSchema, { payload: counting(8), agentVersion: "0.1.0" }),
  vector("activated", ActivatedSchema, { clockStepNs: -1_500_000_000n }),
  vector("clock set", ClockSetSchema, { clockStepNs: 9_223_372_036_854_775_807n }),
  vector("stats report", StatsReportSchema, {
    memoryTotalBytes: 536_870_912n,
    memoryAvailableBytes: 400_000_000n,
    diskTotalBytes: 8_589_934_592n,
    diskAvailableBytes: 8_000_000_000n,
    cpuUserMs: 1234n,
    cpuSystemMs: 56n,
    processCount: 7,
    uptimeMs: 86_400_000n,
  }),
  vector("exec ended well", ExecEndedSchema, {}),
  vector("exec ended at its time limit", ExecEndedSchema, {
    exitCode: 124,
    signal: 9,
    timedOut: true,
    truncated: true,
    stdoutBytes: 209_715_200n,
    stderrBytes: 3n,
    cpuUs: 59_000_000n,
    wallUs: 60_000_123n,
    outOfMemory: true,
  }),
  vector("code ended with an exception", CodeEndedSchema, {
    exitCode: 1,
    language: Language.PYTHON,
    error: { name: "ZeroDivisionError", value: "division by zero", traceback: "Traceback …\n" },
    cpuUs: 100n,
    wallUs: 200n,
  }),
  vector("code ended with its context", CodeEndedSchema, {
    exitCode: 137,
    timedOut: true,
    truncated: true,
    language: Language.BASH,
    contextLost: true,
    outOfMemory: true,
  }),
  vector("code error", CodeErrorSchema, { name: "E", value: "v", traceback: "t" }),
  vector("context", ContextSchema, { contextId: "c1", language: Language.BASH, cwd: "/app", isBusy: true }),
  vector("no contexts", ContextListSchema, {}),
  vector("two contexts", ContextListSchema, {
    contexts: [{ contextId: "c1", language: Language.PYTHON, cwd: "/app" }, { contextId: "c2" }],
  }),
  vector("file read", FileReadSchema, { bytes: 4_294_967_296n }),
  vector("file written", FileWrittenSchema, { bytes: 3n, path: utf8("/app/data/ü.bin") }),
  vector("started", StartedSchema, { pid: 4242 }),
  vector("display", DisplaySchema, { data: { "text/html": utf8("<b>6</b>") }, isResult: true }),
  vector("display, nothing in it", DisplaySchema, {}),
  vector("display that continues", DisplaySchema, {
    data: { "image/png": counting(8, 0x89) },
    isResult: true,
    continues: true,
  }),
  ...failures(),
];

const failures = (): MessageVector[] =>
  [
    FailureCode.UNSPECIFIED,
    FailureCode.INVALID,
    FailureCode.NOT_FOUND,
    FailureCode.IS_DIRECTORY,
    FailureCode.PERMISSION,
    FailureCode.NO_SPACE,
    FailureCode.LIMIT,
    FailureCode.NO_ENTROPY,
    FailureCode.CANCELLED,
    FailureCode.INTERNAL,
    FailureCode.UNSUPPORTED,
    FailureCode.CONFLICT,
  ].map((code) => vector(`failure ${FailureCode[code]}`, FailureSchema, { code, message: `seen: ${code}` }));

const opens = (): MessageVector[] => {
  const cases: NonNullable<MessageInitShape<typeof OpenSchema>["call"]>[] = [
    { case: "ping", value: {} },
    { case: "activate", value: { keepIdentity: true } },
    { case: "setClock", value: { unixTimeNs: 1n } },
    { case: "stats", value: {} },
    { case: "exec", value: { argv: ["true"] } },
    { case: "runCode", value: { language: Language.PYTHON, code: ascii("1") } },
    { case: "createContext", value: { language: Language.BASH } },
    { case: "restartContext", value: {} },
    { case: "interruptContext", value: {} },
    { case: "deleteContext", value: { contextId: "c" } },
    { case: "listContexts", value: {} },
    { case: "readFile", value: { path: ascii("/a") } },
    { case: "writeFile", value: { path: ascii("/a") } },
  ];
  return cases.map((call) => vector(`open ${call.case}`, OpenSchema, { creditBytes: 262_144, call }));
};

const inputs = (): MessageVector[] => [
  vector("input, nothing in it", InputSchema, {}),
  vector("input data", InputSchema, { input: { case: "data", value: counting(3) } }),
  vector("input data, empty", InputSchema, { input: { case: "data", value: new Uint8Array(0) } }),
  vector("input signal", InputSchema, { input: { case: "signal", value: 15 } }),
];

const outputs = (): MessageVector[] => [
  vector("output, nothing in it", OutputSchema, {}),
  vector("output stdout", OutputSchema, { output: { case: "stdout", value: ascii("42\n") } }),
  vector("output stdout, not UTF-8", OutputSchema, {
    output: { case: "stdout", value: Uint8Array.of(0xff, 0x00, 0xfe) },
  }),
  vector("output stderr", OutputSchema, { output: { case: "stderr", value: ascii("oops") } }),
  vector("output data", OutputSchema, { output: { case: "data", value: counting(4) } }),
  vector("output started", OutputSchema, { output: { case: "started", value: { pid: 1 } } }),
  vector("output display", OutputSchema, { output: { case: "display", value: { isResult: true } } }),
];

const outcomes = (): MessageVector[] => {
  const cases: NonNullable<MessageInitShape<typeof OutcomeSchema>["outcome"]>[] = [
    { case: "failure", value: { code: FailureCode.CANCELLED, message: "cancelled" } },
    { case: "pong", value: {} },
    { case: "activated", value: { clockStepNs: 1n } },
    { case: "clockSet", value: {} },
    { case: "stats", value: { processCount: 1 } },
    { case: "execEnded", value: { exitCode: 3 } },
    { case: "codeEnded", value: { language: Language.PYTHON } },
    { case: "context", value: { contextId: "c" } },
    { case: "contexts", value: { contexts: [{}] } },
    { case: "fileRead", value: { bytes: 1n } },
    { case: "fileWritten", value: { bytes: 1n, path: ascii("/a") } },
  ];
  return cases.map((outcome) => vector(`outcome ${outcome.case}`, OutcomeSchema, { outcome }));
};

/** Every message of guest.proto, every member of its oneofs and every value of its enums. */
export const messageVectors = (): MessageVector[] => [
  ...fileVectors(),
  ...processVectors(),
  ...calls(),
  ...answers(),
  ...opens(),
  ...inputs(),
  ...outputs(),
  ...outcomes(),
];

/** Bytes that no decoder of the named message may accept. */
export interface InvalidMessageVector {
  readonly name: string;
  readonly type: string;
  readonly hex: string;
  readonly why: string;
}

/** Every way in which protobuf can be broken that both decoders see. */
export const invalidMessageVectors = (): InvalidMessageVector[] => [
  { name: "cut in a tag", type: "instavm.guest.v1.Outcome", hex: "82", why: "a varint ends with the payload" },
  { name: "cut in a length", type: "instavm.guest.v1.Output", hex: "0aff", why: "a varint ends with the payload" },
  { name: "cut in bytes", type: "instavm.guest.v1.Output", hex: "0a0561", why: "5 bytes announced, 1 there" },
  {
    name: "cut in a nested message",
    type: "instavm.guest.v1.Outcome",
    hex: "520a0a0161",
    why: "10 bytes announced, 3 there",
  },
  { name: "field number 0", type: "instavm.guest.v1.Input", hex: "0000", why: "fields are numbered from 1" },
  { name: "wire type 7", type: "instavm.guest.v1.Input", hex: "0f00", why: "there is no wire type 7" },
  {
    name: "varint of 11 bytes",
    type: "instavm.guest.v1.Started",
    hex: "08ffffffffffffffffffff01",
    why: "a varint has at most 10 bytes",
  },
  {
    name: "string that is not UTF-8",
    type: "instavm.guest.v1.Failure",
    hex: "1202c328",
    why: "a string must be UTF-8",
  },
  { name: "end of a group that never began", type: "instavm.guest.v1.Input", hex: "0c", why: "no group is open" },
];

import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  AttachProcessSchema,
  ForgetProcessSchema,
  ListProcessesSchema,
  OpenSchema,
  OutcomeSchema,
  OutputPositionSchema,
  OutputSchema,
  ProcessListSchema,
  ProcessSchema,
  SignalProcessSchema,
  StartProcessSchema,
  StdinWrittenSchema,
  WaitProcessSchema,
  WriteStdinSchema,
} from "@instavm/protocol/guest";
import { type MessageVector, vector } from "./message-vector.ts";

const running = {
  processId: 3,
  pid: 4242,
  tag: "dev server",
  command: "npm run dev",
  startedUnixMs: 1_767_225_600_123n,
  stdinIsOpen: true,
  outputBytes: 2_000_000n,
  outputStart: 951_424n,
} satisfies MessageInitShape<typeof ProcessSchema>;

const messages = (): MessageVector[] => [
  vector("start a process", StartProcessSchema, {
    exec: { argv: ["npm", "run", "dev"], openStdin: true, user: "user" },
    tag: "dev server",
  }),
  vector("list processes", ListProcessesSchema, {}),
  vector("attach to a process", AttachProcessSchema, { processId: 3, offset: 951_424n, follow: true }),
  vector("attach to the end of a process", AttachProcessSchema, { processId: 3, offset: 100n, fromEnd: true }),
  vector("write stdin", WriteStdinSchema, { processId: 3, close: true }),
  vector("signal a process", SignalProcessSchema, { processId: 3, signal: 15 }),
  vector("wait for a process", WaitProcessSchema, { processId: 4_294_967_295 }),
  vector("forget a process", ForgetProcessSchema, { processId: 2 }),
  vector("process that runs", ProcessSchema, running),
  vector("process that has ended", ProcessSchema, {
    processId: 1,
    pid: 17,
    ended: { exitCode: 137, signal: 9, stdoutBytes: 5n },
    endedUnixMs: 1_767_225_700_000n,
  }),
  vector("no processes", ProcessListSchema, {}),
  vector("two processes", ProcessListSchema, { processes: [running, { processId: 4 }] }),
  vector("stdin written", StdinWrittenSchema, { bytes: 65_536n }),
  vector("output position, at first", OutputPositionSchema, {}),
  vector("output position, after a loss", OutputPositionSchema, { offset: 1n << 40n, droppedBytes: 1n << 39n }),
  vector("output position", OutputSchema, { output: { case: "position", value: { offset: 1n } } }),
];

const opens = (): MessageVector[] => {
  const cases: NonNullable<MessageInitShape<typeof OpenSchema>["call"]>[] = [
    { case: "startProcess", value: { exec: { argv: ["true"] } } },
    { case: "listProcesses", value: {} },
    { case: "attachProcess", value: { processId: 1 } },
    { case: "writeStdin", value: { processId: 1 } },
    { case: "signalProcess", value: { processId: 1, signal: 9 } },
    { case: "waitProcess", value: { processId: 1 } },
    { case: "forgetProcess", value: { processId: 1 } },
  ];
  return cases.map((call) => vector(`open ${call.case}`, OpenSchema, { creditBytes: 65_536, call }));
};

const outcomes = (): MessageVector[] => {
  const cases: NonNullable<MessageInitShape<typeof OutcomeSchema>["outcome"]>[] = [
    { case: "process", value: running },
    { case: "processes", value: { processes: [running] } },
    { case: "stdinWritten", value: { bytes: 1n } },
  ];
  return cases.map((outcome) => vector(`outcome ${outcome.case}`, OutcomeSchema, { outcome }));
};

/** The messages about processes that outlive a call. */
export const processVectors = (): MessageVector[] => [...messages(), ...opens(), ...outcomes()];

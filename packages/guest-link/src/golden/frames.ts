import { FailureCode, InputSchema, Language, OpenSchema, OutcomeSchema, OutputSchema } from "@instavm/protocol/guest";
import { ascii, concat, counting, frame, header, hexOf, type PlainFrame, u32 } from "./bytes.ts";
import { encoded } from "./message-vector.ts";

type Side = "host" | "guest";

interface FrameFields {
  readonly streamId: number;
  readonly type: number;
  readonly flags: number;
  readonly payloadHex: string;
}

/** One good frame. */
export interface FrameVector {
  readonly name: string;
  /** Who may send it. */
  readonly from: readonly Side[];
  readonly hex: string;
  readonly frame: FrameFields;
}

/** A frame whose payload is one byte repeated; `hex` is its header. Examines the frame layer only. */
export interface LargeFrameVector {
  readonly name: string;
  readonly from: readonly Side[];
  readonly hex: string;
  readonly fill: { readonly byteHex: string; readonly length: number };
  readonly valid: boolean;
}

/** Bytes on which `receiver` closes the session, whatever went before. */
export interface InvalidFrameVector {
  readonly name: string;
  readonly receiver: Side | "both";
  readonly hex: string;
  readonly why: string;
}

/** Frames in a row, right behind the handshake. */
export interface SequenceVector {
  readonly name: string;
  readonly receiver: Side;
  /** The streams that the host has opened before, with the credit it gave; only where the host receives. */
  readonly opened?: readonly { readonly streamId: number; readonly creditBytes: number }[];
  readonly hex: string;
  /** `hex` this many times; 1 when absent. */
  readonly repeat?: number;
  readonly expect: "open" | "closed";
  readonly why: string;
}

const type = { open: 1, message: 2, end: 3, reset: 4, credit: 5, ping: 6, pong: 7, detach: 8, detached: 9 } as const;
const endStream = 1;
const both: readonly Side[] = ["host", "guest"];

const openPing = encoded(OpenSchema, { creditBytes: 65_536, call: { case: "ping", value: { payload: ascii("hi") } } });
const openExec = encoded(OpenSchema, {
  creditBytes: 262_144,
  call: { case: "exec", value: { argv: ["cat"], openStdin: true } },
});
const openCode = encoded(OpenSchema, {
  creditBytes: 262_144,
  call: { case: "runCode", value: { language: Language.PYTHON, code: ascii("print(6*7)") } },
});
const inputData = encoded(InputSchema, { input: { case: "data", value: ascii("to stdin\n") } });
const inputSignal = encoded(InputSchema, { input: { case: "signal", value: 2 } });
const stdout = (size: number): Uint8Array =>
  encoded(OutputSchema, { output: { case: "stdout", value: new Uint8Array(size).fill(0x61) } });
const pong = encoded(OutcomeSchema, {
  outcome: { case: "pong", value: { payload: ascii("hi"), agentVersion: "0.1.0" } },
});
const cancelled = encoded(OutcomeSchema, {
  outcome: { case: "failure", value: { code: FailureCode.CANCELLED, message: "cancelled by the host" } },
});

const good = (name: string, from: readonly Side[], of: PlainFrame): FrameVector => ({
  name,
  from,
  hex: hexOf(frame(of)),
  frame: {
    streamId: of.streamId,
    type: of.type,
    flags: of.flags ?? 0,
    payloadHex: hexOf(of.payload ?? new Uint8Array(0)),
  },
});

/** Every type of frame, with its edges. */
export const frameVectors = (): FrameVector[] => [
  good("OPEN, input ended", ["host"], { streamId: 1, type: type.open, flags: endStream, payload: openPing }),
  good("OPEN, input follows", ["host"], { streamId: 3, type: type.open, payload: openExec }),
  good("OPEN, the highest stream id", ["host"], {
    streamId: 0xffffffff,
    type: type.open,
    flags: endStream,
    payload: openCode,
  }),
  good("MESSAGE with input", ["host"], { streamId: 3, type: type.message, payload: inputData }),
  good("MESSAGE with input, the last", ["host"], {
    streamId: 3,
    type: type.message,
    flags: endStream,
    payload: inputData,
  }),
  good("MESSAGE, empty, input ended", ["host"], { streamId: 3, type: type.message, flags: endStream }),
  good("MESSAGE with a signal", ["host"], { streamId: 3, type: type.message, payload: inputSignal }),
  good("MESSAGE with output", ["guest"], { streamId: 3, type: type.message, payload: stdout(3) }),
  good("MESSAGE, empty", both, { streamId: 3, type: type.message }),
  good("END", ["guest"], { streamId: 1, type: type.end, payload: pong }),
  good("END, cancelled", ["guest"], { streamId: 3, type: type.end, payload: cancelled }),
  good("RESET", ["host"], { streamId: 3, type: type.reset }),
  good("CREDIT", both, { streamId: 3, type: type.credit, payload: u32(131_072) }),
  good("CREDIT of one byte", both, { streamId: 0x7fffffff, type: type.credit, payload: u32(1) }),
  good("PING, empty", both, { streamId: 0, type: type.ping }),
  good("PING, the most bytes", both, { streamId: 0, type: type.ping, payload: counting(64) }),
  good("PONG", both, { streamId: 0, type: type.pong, payload: counting(8) }),
  good("PONG, the most bytes", both, { streamId: 0, type: type.pong, payload: counting(64) }),
  good("DETACH", ["host"], { streamId: 0, type: type.detach }),
  good("DETACHED", ["guest"], { streamId: 0, type: type.detached }),
];

const large = (
  name: string,
  of: Omit<LargeFrameVector, "name" | "hex" | "fill">,
  head: PlainFrame & { length: number },
): LargeFrameVector => ({
  name,
  from: of.from,
  hex: hexOf(header(head)),
  fill: { byteHex: "61", length: head.length },
  valid: of.valid,
});

/** Payloads at and just over their limits. */
export const largeFrameVectors = (): LargeFrameVector[] => [
  large(
    "OPEN, the longest payload",
    { from: ["host"], valid: true },
    { streamId: 1, type: type.open, length: 262_144 },
  ),
  large("END, the longest payload", { from: ["guest"], valid: true }, { streamId: 1, type: type.end, length: 262_144 }),
  large(
    "MESSAGE, the longest payload",
    { from: both, valid: true },
    { streamId: 1, type: type.message, length: 65_600 },
  ),
  large(
    "MESSAGE, one byte too long",
    { from: both, valid: false },
    { streamId: 1, type: type.message, length: 65_601 },
  ),
  large("OPEN, one byte too long", { from: ["host"], valid: false }, { streamId: 1, type: type.open, length: 262_145 }),
];

const bad = (
  name: string,
  receiver: Side | "both",
  of: PlainFrame & { why: string; length?: number },
): InvalidFrameVector => ({
  name,
  receiver,
  hex: hexOf(of.length === undefined ? frame(of) : header({ ...of, length: of.length })),
  why: of.why,
});

const badHeaders = (): InvalidFrameVector[] => [
  bad("length one over the limit", "both", {
    streamId: 1,
    type: type.open,
    length: 262_145,
    why: "a payload has at most 262 144 bytes",
  }),
  bad("the greatest length", "both", {
    streamId: 1,
    type: type.message,
    length: 0xffffffff,
    why: "a payload has at most 262 144 bytes",
  }),
  bad("the banner in place of a frame", "both", {
    streamId: 0x10b0b142,
    type: 0xb2,
    flags: 0xb3,
    reserved: 0xb5b4,
    length: 0x314d5649,
    why: "`IVM1` read as a length is over the limit",
  }),
  bad("type 0", "both", { streamId: 1, type: 0, why: "types are 1 to 9" }),
  bad("type 10", "both", { streamId: 1, type: 10, why: "types are 1 to 9" }),
  bad("type 255", "both", { streamId: 1, type: 255, why: "types are 1 to 9" }),
  bad("flag bit 1", "both", {
    streamId: 1,
    type: type.message,
    flags: 2,
    why: "only bit 0 of the flags has a meaning",
  }),
  bad("flag bit 7", "both", {
    streamId: 0,
    type: type.ping,
    flags: 0x80,
    why: "only bit 0 of the flags has a meaning",
  }),
  bad("reserved, low byte", "both", { streamId: 0, type: type.ping, reserved: 1, why: "the reserved field is 0" }),
  bad("reserved, high byte", "both", {
    streamId: 1,
    type: type.message,
    reserved: 0x100,
    why: "the reserved field is 0",
  }),
];

const badFlags = (): InvalidFrameVector[] => {
  const why = "END_STREAM belongs to OPEN and to MESSAGE from the host";
  return [
    bad("END_STREAM on MESSAGE from the guest", "host", {
      streamId: 1,
      type: type.message,
      flags: endStream,
      payload: stdout(1),
      why,
    }),
    bad("END_STREAM on END", "host", { streamId: 1, type: type.end, flags: endStream, payload: pong, why }),
    bad("END_STREAM on RESET", "guest", { streamId: 1, type: type.reset, flags: endStream, why }),
    bad("END_STREAM on CREDIT", "both", { streamId: 1, type: type.credit, flags: endStream, payload: u32(1), why }),
    bad("END_STREAM on PING", "both", { streamId: 0, type: type.ping, flags: endStream, why }),
    bad("END_STREAM on DETACH", "guest", { streamId: 0, type: type.detach, flags: endStream, why }),
  ];
};

const badStreams = (): InvalidFrameVector[] => {
  const zero = "stream 0 is the session itself";
  const one = "this frame belongs to stream 0";
  const even = "stream ids are odd";
  return [
    bad("OPEN on stream 0", "guest", { streamId: 0, type: type.open, payload: openPing, why: zero }),
    bad("OPEN on an even stream", "guest", { streamId: 2, type: type.open, payload: openPing, why: even }),
    bad("MESSAGE on stream 0", "both", { streamId: 0, type: type.message, why: zero }),
    bad("MESSAGE on an even stream", "both", { streamId: 2, type: type.message, why: even }),
    bad("END on stream 0", "host", { streamId: 0, type: type.end, payload: pong, why: zero }),
    bad("RESET on stream 0", "guest", { streamId: 0, type: type.reset, why: zero }),
    bad("CREDIT on stream 0", "both", { streamId: 0, type: type.credit, payload: u32(1), why: zero }),
    bad("PING on a stream", "both", { streamId: 1, type: type.ping, why: one }),
    bad("PONG on a stream", "both", { streamId: 1, type: type.pong, why: one }),
    bad("DETACH on a stream", "guest", { streamId: 1, type: type.detach, why: one }),
    bad("DETACHED on a stream", "host", { streamId: 1, type: type.detached, why: one }),
  ];
};

const badPayloads = (): InvalidFrameVector[] => [
  bad("RESET with a payload", "guest", {
    streamId: 1,
    type: type.reset,
    payload: counting(1),
    why: "RESET has no payload",
  }),
  bad("CREDIT, empty", "both", { streamId: 1, type: type.credit, why: "CREDIT has 4 bytes" }),
  bad("CREDIT of 3 bytes", "both", { streamId: 1, type: type.credit, payload: counting(3), why: "CREDIT has 4 bytes" }),
  bad("CREDIT of 5 bytes", "both", { streamId: 1, type: type.credit, payload: counting(5), why: "CREDIT has 4 bytes" }),
  bad("PING of 65 bytes", "both", {
    streamId: 0,
    type: type.ping,
    payload: counting(65),
    why: "PING has at most 64 bytes",
  }),
  bad("PONG of 65 bytes", "both", {
    streamId: 0,
    type: type.pong,
    payload: counting(65),
    why: "PONG has at most 64 bytes",
  }),
  bad("DETACH with a payload", "guest", {
    streamId: 0,
    type: type.detach,
    payload: counting(1),
    why: "DETACH has no payload",
  }),
  bad("DETACHED with a payload", "host", {
    streamId: 0,
    type: type.detached,
    payload: counting(1),
    why: "DETACHED has no payload",
  }),
  bad("OPEN, undecodable", "guest", {
    streamId: 1,
    type: type.open,
    payload: ascii("\x0f"),
    why: "the payload is no Open",
  }),
];

const badDirections = (): InvalidFrameVector[] => {
  const host = "only the agent sends it";
  const guest = "only the host sends it";
  return [
    bad("END from the host", "guest", { streamId: 1, type: type.end, payload: pong, why: host }),
    bad("DETACHED from the host", "guest", { streamId: 0, type: type.detached, why: host }),
    bad("OPEN from the guest", "host", { streamId: 1, type: type.open, payload: openPing, why: guest }),
    bad("RESET from the guest", "host", { streamId: 1, type: type.reset, why: guest }),
    bad("DETACH from the guest", "host", { streamId: 0, type: type.detach, why: guest }),
  ];
};

/** Every way in which one frame can be wrong. */
export const invalidFrameVectors = (): InvalidFrameVector[] => [
  ...badHeaders(),
  ...badFlags(),
  ...badStreams(),
  ...badPayloads(),
  ...badDirections(),
];

const toGuest = (
  name: string,
  frames: readonly PlainFrame[],
  end: Pick<SequenceVector, "expect" | "why" | "repeat">,
): SequenceVector => ({
  name,
  receiver: "guest",
  hex: hexOf(concat(...frames.map(frame))),
  ...end,
});

const ping = (streamId: number): PlainFrame => ({ streamId, type: type.open, flags: endStream, payload: openPing });
const cat = (streamId: number, creditBytes: number): PlainFrame => ({
  streamId,
  type: type.open,
  payload: encoded(OpenSchema, { creditBytes, call: { case: "exec", value: { argv: ["cat"], openStdin: true } } }),
});

const sequencesToGuest = (): SequenceVector[] => [
  toGuest("OPEN with a gap between ids", [ping(1), ping(9), ping(11)], {
    expect: "open",
    why: "ids grow, they need not be consecutive",
  }),
  toGuest("OPEN with the same id again", [ping(1), ping(1)], {
    expect: "closed",
    why: "an id is greater than every earlier one",
  }),
  toGuest("OPEN with a lower id", [ping(5), ping(3)], {
    expect: "closed",
    why: "an id is greater than every earlier one",
  }),
  toGuest("MESSAGE for a stream never opened", [ping(3), { streamId: 5, type: type.message, payload: inputData }], {
    expect: "closed",
    why: "stream 5 was never opened",
  }),
  toGuest("MESSAGE for an id that was skipped", [ping(3), { streamId: 1, type: type.message, payload: inputData }], {
    expect: "open",
    why: "an id up to the greatest opened one counts as ended: no list of ended streams is kept",
  }),
  toGuest("CREDIT for a stream never opened", [{ streamId: 1, type: type.credit, payload: u32(1) }], {
    expect: "closed",
    why: "stream 1 was never opened",
  }),
  toGuest("RESET for a stream never opened", [{ streamId: 1, type: type.reset }], {
    expect: "closed",
    why: "stream 1 was never opened",
  }),
  toGuest("RESET twice", [cat(1, 65_536), { streamId: 1, type: type.reset }, { streamId: 1, type: type.reset }], {
    expect: "open",
    why: "a RESET for a stream that has ended is ignored",
  }),
  toGuest(
    "a signal after the input has ended",
    [
      cat(1, 65_536),
      { streamId: 1, type: type.message, flags: endStream },
      { streamId: 1, type: type.message, payload: inputSignal },
    ],
    { expect: "open", why: "END_STREAM ends the data, not the signals" },
  ),
  toGuest("a window of 4 MiB", [cat(1, 4_194_304)], { expect: "open", why: "a window never exceeds 4 MiB" }),
  toGuest("a window over 4 MiB", [cat(1, 4_194_305)], { expect: "closed", why: "a window never exceeds 4 MiB" }),
  toGuest(
    "CREDIT that lifts a window over 4 MiB",
    [cat(1, 4_194_304), { streamId: 1, type: type.credit, payload: u32(1) }],
    { expect: "closed", why: "a window never exceeds 4 MiB" },
  ),
  toGuest(
    "MESSAGE that is undecodable",
    [cat(1, 65_536), { streamId: 1, type: type.message, payload: ascii("\x0f") }],
    { expect: "closed", why: "the payload is no Input" },
  ),
];

const toHost = (
  name: string,
  frames: readonly PlainFrame[],
  end: Pick<SequenceVector, "expect" | "why" | "repeat">,
): SequenceVector => ({
  name,
  receiver: "host",
  opened: [{ streamId: 1, creditBytes: 1024 }],
  hex: hexOf(concat(...frames.map(frame))),
  ...end,
});

const output = (payload: Uint8Array): PlainFrame => ({ streamId: 1, type: type.message, payload });
const ended: PlainFrame = { streamId: 1, type: type.end, payload: cancelled };

const sequencesToHost = (): SequenceVector[] => [
  toHost("output up to the window", [output(stdout(1021))], {
    expect: "open",
    why: "1024 bytes of payload, 1024 granted",
  }),
  toHost("output beyond the window", [output(stdout(1022))], {
    expect: "closed",
    why: "1025 bytes of payload, 1024 granted",
  }),
  toHost(
    "output beyond the window, in pieces",
    [output(stdout(1000)), output(stdout(19)), output(Uint8Array.of(0x0a, 0x00))],
    { expect: "closed", why: "the pieces add up to 1026 bytes, 1024 granted" },
  ),
  toHost("1 000 empty messages", [output(new Uint8Array(0))], {
    repeat: 1000,
    expect: "open",
    why: "up to 1 000 in a row may be empty",
  }),
  toHost("1 001 empty messages", [output(new Uint8Array(0))], {
    repeat: 1001,
    expect: "closed",
    why: "up to 1 000 in a row may be empty",
  }),
  toHost("MESSAGE for a stream never opened", [{ streamId: 3, type: type.message, payload: stdout(1) }], {
    expect: "closed",
    why: "stream 3 was never opened",
  }),
  toHost("END for a stream never opened", [{ streamId: 3, type: type.end, payload: cancelled }], {
    expect: "closed",
    why: "stream 3 was never opened",
  }),
  toHost("CREDIT for a stream never opened", [{ streamId: 3, type: type.credit, payload: u32(1) }], {
    expect: "closed",
    why: "stream 3 was never opened",
  }),
  toHost("CREDIT that lifts a window over 4 MiB", [{ streamId: 1, type: type.credit, payload: u32(3_932_161) }], {
    expect: "closed",
    why: "262 144 at first; a window never exceeds 4 MiB",
  }),
  toHost("CREDIT up to a window of 4 MiB", [{ streamId: 1, type: type.credit, payload: u32(3_932_160) }], {
    expect: "open",
    why: "262 144 at first; a window never exceeds 4 MiB",
  }),
  toHost("MESSAGE after END", [ended, output(stdout(1))], {
    expect: "open",
    why: "frames for a stream that has ended are ignored",
  }),
  toHost("END twice", [ended, ended], { expect: "closed", why: "a call has one outcome" }),
  toHost("MESSAGE that is undecodable", [output(ascii("\x0f"))], { expect: "closed", why: "the payload is no Output" }),
  toHost("END that is undecodable", [{ ...ended, payload: ascii("\x0f") }], {
    expect: "closed",
    why: "the payload is no Outcome",
  }),
  toHost("DETACHED that nobody asked for", [{ streamId: 0, type: type.detached }], {
    expect: "closed",
    why: "the host sent no DETACH",
  }),
];

/** Frames that are right or wrong because of what went before. */
export const sequenceVectors = (): SequenceVector[] => [...sequencesToGuest(), ...sequencesToHost()];

import { guestProtocolError } from "./link-errors.ts";

/** Limits of protocol/guest-link.md, in bytes unless the name says otherwise. */
export const limits = {
  headerBytes: 12,
  payloadBytes: 262_144,
  /** Of one MESSAGE; a piece of data plus its protobuf frame. */
  messageBytes: 65_536 + 64,
  /** Of data in one MESSAGE. */
  dataBytes: 65_536,
  windowBytes: 4 * 1024 * 1024,
  /** What the host may send on a new stream before the agent grants more. */
  firstInputWindowBytes: 262_144,
  pingBytes: 64,
  openStreams: 256,
  emptyMessagesInARow: 1000,
  /** What may precede the welcome. */
  skippedBytes: 1024 * 1024,
} as const;

/** Frame types as they are on the wire. */
export const frameTypes = {
  open: 1,
  message: 2,
  end: 3,
  reset: 4,
  credit: 5,
  ping: 6,
  pong: 7,
  detach: 8,
  detached: 9,
} as const;

/** Flag of OPEN, and of MESSAGE from the host: no more input data follows. */
export const endStreamFlag = 1;

/** One end of the link. */
export type Side = "host" | "guest";

/** What a frame's 12 bytes say; `length` is its payload's, in bytes. */
export interface FrameHeader {
  readonly length: number;
  readonly streamId: number;
  readonly type: number;
  readonly flags: number;
}

/** A frame as it was read; whoever keeps the payload copies it. */
export interface Frame extends FrameHeader {
  readonly payload: Uint8Array;
}

interface FrameRule {
  readonly name: string;
  readonly from: Side | "both";
  /** false: it belongs to the session itself, stream 0. */
  readonly onStream: boolean;
  readonly minBytes: number;
  readonly maxBytes: number;
}

const rules: readonly (FrameRule | undefined)[] = [
  undefined,
  { name: "OPEN", from: "host", onStream: true, minBytes: 0, maxBytes: limits.payloadBytes },
  { name: "MESSAGE", from: "both", onStream: true, minBytes: 0, maxBytes: limits.messageBytes },
  { name: "END", from: "guest", onStream: true, minBytes: 0, maxBytes: limits.payloadBytes },
  { name: "RESET", from: "host", onStream: true, minBytes: 0, maxBytes: 0 },
  { name: "CREDIT", from: "both", onStream: true, minBytes: 4, maxBytes: 4 },
  { name: "PING", from: "both", onStream: false, minBytes: 0, maxBytes: limits.pingBytes },
  { name: "PONG", from: "both", onStream: false, minBytes: 0, maxBytes: limits.pingBytes },
  { name: "DETACH", from: "host", onStream: false, minBytes: 0, maxBytes: 0 },
  { name: "DETACHED", from: "guest", onStream: false, minBytes: 0, maxBytes: 0 },
];

/** `IVM1` read as a length: the banner of an agent that has left the session. */
const bannerAsLength = 0x31_4d_56_49;

/** Reads a little-endian u32. */
export function readU32(bytes: Uint8Array, at: number): number {
  const [first = 0, second = 0, third = 0, fourth = 0] = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
  return (first | (second << 8) | (third << 16) | (fourth << 24)) >>> 0;
}

/** Reads and checks the 12 bytes at `at`, which must be there. Throws `guest_protocol`. */
export function readHeader(bytes: Uint8Array, at: number, receiver: Side): FrameHeader {
  const length = readU32(bytes, at);
  const streamId = readU32(bytes, at + 4);
  const type = bytes[at + 8] ?? 0;
  const flags = bytes[at + 9] ?? 0;
  const reserved = (bytes[at + 10] ?? 0) | (bytes[at + 11] ?? 0);
  if (length === bannerAsLength) throw guestProtocolError("its banner came in place of a frame: it left the session");
  const rule = rules[type];
  if (rule === undefined) throw guestProtocolError(`a frame of type ${type}; expected 1 to ${rules.length - 1}`);
  if (reserved !== 0) throw guestProtocolError(`${rule.name} with a reserved field that is not 0`);
  const header = { length, streamId, type, flags };
  checkHeader(header, rule, receiver);
  return header;
}

function checkHeader(header: FrameHeader, rule: FrameRule, receiver: Side): void {
  const { length, streamId, flags } = header;
  if (rule.from === receiver) throw guestProtocolError(`${rule.name}, which only the ${receiver} sends`);
  if (length < rule.minBytes || length > rule.maxBytes) {
    throw guestProtocolError(`${rule.name} of ${length} bytes; expected ${rule.minBytes} to ${rule.maxBytes}`);
  }
  if (rule.onStream ? streamId % 2 === 0 : streamId !== 0) {
    throw guestProtocolError(`${rule.name} on stream ${streamId}; expected ${rule.onStream ? "an odd id" : "0"}`);
  }
  const mayEndStream = receiver === "guest" && (header.type === frameTypes.open || header.type === frameTypes.message);
  if (flags !== 0 && !(mayEndStream && flags === endStreamFlag)) {
    throw guestProtocolError(`${rule.name} with flags ${flags}; expected 0`);
  }
}

/** The 12 bytes before a payload. */
export function encodeHeader(header: FrameHeader): Uint8Array {
  const bytes = new Uint8Array(limits.headerBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, header.length, true);
  view.setUint32(4, header.streamId, true);
  view.setUint8(8, header.type);
  view.setUint8(9, header.flags);
  return bytes;
}

/** The payload of a CREDIT frame. */
export function encodeCredit(bytes: number): Uint8Array {
  const payload = new Uint8Array(4);
  new DataView(payload.buffer).setUint32(0, bytes, true);
  return payload;
}

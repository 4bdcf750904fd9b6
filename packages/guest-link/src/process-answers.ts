import type { GuestProcess, OutputPosition } from "@instavm/core";
import type { OutputPosition as WirePosition, Process } from "@instavm/protocol/guest";
import { readExecEnded, toNumber } from "./answers.ts";
import { printable } from "./failure.ts";
import { guestProtocolError } from "./link-errors.ts";

const longestTag = 256;
const longestCommand = 256;

/** Throws `guest_protocol` for what no process is. */
export function readProcess(process: Process): GuestProcess {
  const { ended } = process;
  const outputBytes = toNumber(process.outputBytes);
  const outputStart = toNumber(process.outputStart);
  if (process.processId === 0) throw guestProtocolError("a process without an id");
  if (outputStart > outputBytes) throw guestProtocolError(`output from ${outputStart} to ${outputBytes}`);
  return {
    processId: process.processId,
    pid: process.pid,
    tag: printable(process.tag.slice(0, longestTag)),
    command: printable(process.command.slice(0, longestCommand)),
    startedAtMs: toNumber(process.startedUnixMs),
    stdinIsOpen: process.stdinIsOpen,
    outputBytes,
    outputStart,
    ended: ended === undefined ? undefined : { ...readExecEnded(ended), endedAtMs: toNumber(process.endedUnixMs) },
  };
}

/** Throws `guest_protocol` beyond 2^53 - 1, and for more lost than there was. */
export function readPosition(position: WirePosition): OutputPosition {
  const offset = toNumber(position.offset);
  const droppedBytes = toNumber(position.droppedBytes);
  if (droppedBytes > offset) throw guestProtocolError(`${droppedBytes} bytes lost before offset ${offset}`);
  return { type: "position", offset, droppedBytes };
}

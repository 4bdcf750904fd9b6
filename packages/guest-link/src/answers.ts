import type { CodeEnded, ExecEnded, GuestStats, Language, OutputEvent } from "@instavm/core";
import {
  type CodeEnded as WireCodeEnded,
  type Display,
  type ExecEnded as WireExecEnded,
  Language as WireLanguage,
  type StatsReport,
} from "@instavm/protocol/guest";
import { guestProtocolError } from "./link-errors.ts";

const longestErrorName = 1024;
const longestErrorValue = 65_536;
const longestTraceback = 262_144;
/** Parts of one display that are kept. */
export const mostDisplayParts = 32;
const mimeType = /^[\w.+-]{1,64}\/[\w.+-]{1,64}(?:;[\w.+= -]{1,64})?$/;

/** Something rich that a cell shows. */
export type DisplayEvent = Extract<OutputEvent, { type: "display" }>;

/** Parts under a name that is no MIME type, and parts beyond the 32nd, are left out: the program in the VM chose them, and may be wrong. */
export function readDisplay(display: Display): DisplayEvent {
  const parts = Object.entries(display.data)
    .filter(([name]) => mimeType.test(name))
    .slice(0, mostDisplayParts)
    .map(([name, data]) => [name, data.slice()] as const);
  return { type: "display", isResult: display.isResult, data: new Map(parts) };
}

/** Throws `guest_protocol` on values that no process can end with. */
export function readExecEnded(ended: WireExecEnded): ExecEnded {
  if (ended.exitCode < 0 || ended.exitCode > 255)
    throw guestProtocolError(`exit code ${ended.exitCode}; expected 0 to 255`);
  if (ended.signal > 64) throw guestProtocolError(`signal ${ended.signal}; expected 0 to 64`);
  return {
    exitCode: ended.exitCode,
    signal: ended.signal,
    timedOut: ended.timedOut,
    truncated: ended.truncated,
    cpuMs: toMs(ended.cpuUs),
    wallMs: toMs(ended.wallUs),
    outOfMemory: ended.outOfMemory,
  };
}

/** Throws `guest_protocol` on values that no cell can end with. */
export function readCodeEnded(ended: WireCodeEnded): CodeEnded {
  const error = ended.error;
  return {
    exitCode: ended.exitCode,
    timedOut: ended.timedOut,
    truncated: ended.truncated,
    language: readLanguage(ended.language),
    error:
      error === undefined
        ? undefined
        : {
            name: error.name.slice(0, longestErrorName),
            value: error.value.slice(0, longestErrorValue),
            traceback: error.traceback.slice(0, longestTraceback),
          },
    cpuMs: toMs(ended.cpuUs),
    wallMs: toMs(ended.wallUs),
    contextLost: ended.contextLost,
    outOfMemory: ended.outOfMemory,
  };
}

/** Throws `guest_protocol` on numbers beyond what a machine can have. */
export function readStats(report: StatsReport): GuestStats {
  return {
    memoryTotalBytes: toNumber(report.memoryTotalBytes),
    memoryAvailableBytes: toNumber(report.memoryAvailableBytes),
    diskTotalBytes: toNumber(report.diskTotalBytes),
    diskAvailableBytes: toNumber(report.diskAvailableBytes),
    cpuUserMs: toNumber(report.cpuUserMs),
    cpuSystemMs: toNumber(report.cpuSystemMs),
    processCount: report.processCount,
    uptimeMs: toNumber(report.uptimeMs),
  };
}

/** An unsigned 64-bit number of the guest; throws `guest_protocol` beyond 2^53 - 1. */
export function toNumber(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw guestProtocolError(`the number ${value}; expected less than 2^53`);
  return Number(value);
}

function toMs(microseconds: bigint): number {
  return toNumber(microseconds) / 1000;
}

/** Throws `guest_protocol` on what is no language of its own. */
export function readLanguage(language: WireLanguage): Language {
  switch (language) {
    case WireLanguage.PYTHON:
      return "python";
    case WireLanguage.JAVASCRIPT:
      return "javascript";
    case WireLanguage.BASH:
      return "bash";
    case WireLanguage.UNSPECIFIED:
    case WireLanguage.DETECT:
    default:
      throw guestProtocolError(`language ${language}; expected Python, JavaScript or Bash`);
  }
}

import type { CodeEnded } from "../ports/agent-link.ts";

/** The guest's own words are not trusted to be few. */
const reasonLimit = 1_000;
const newline = 10;
const encoder = new TextEncoder();

/**
 * A cell's stderr and, behind it, what the program itself could not say: that its interpreter is lost, and how, and
 * that the VM's memory was used up. Most clients show nothing else of it.
 */
export function withLossNotice(stderr: Uint8Array, { error, contextLost, outOfMemory }: CodeEnded): Uint8Array {
  const lines: string[] = [];
  if (contextLost && error !== undefined) lines.push(`${error.name}: ${error.value}`.slice(0, reasonLimit));
  if (outOfMemory) lines.push("OutOfMemory: the VM's memory was used up; its kernel ended a process");
  if (lines.length === 0) return stderr;
  const opening = stderr.length === 0 || stderr.at(-1) === newline ? "" : "\n";
  const notice = encoder.encode(`${opening}${lines.join("\n")}\n`);
  const all = new Uint8Array(stderr.length + notice.length);
  all.set(stderr);
  all.set(notice, stderr.length);
  return all;
}

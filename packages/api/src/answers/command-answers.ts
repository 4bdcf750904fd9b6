import { commandIdSchema, type Command, type VmId } from "@instavm/contract";
import type { GuestProcess } from "@instavm/core";
import { formatGuestTime } from "./guest-time.ts";

/** One command as the API shows it. */
export function commandAnswer(vmId: VmId, process: GuestProcess): Command {
  const { tag, ended, outputStart } = process;
  const id = commandIdSchema.parse(process.processId);
  return {
    id,
    command_id: id,
    vm_id: vmId,
    tag: tag === "" ? null : tag,
    command: process.command,
    pid: process.pid,
    is_running: ended === undefined,
    stdin_is_open: process.stdinIsOpen,
    started_at: formatGuestTime(process.startedAtMs),
    ended_at: ended === undefined ? null : formatGuestTime(ended.endedAtMs),
    output_bytes: process.outputBytes,
    output_start: outputStart,
    truncated: outputStart > 0,
    exit_code: ended?.exitCode ?? null,
    signal: ended === undefined || ended.signal === 0 ? null : ended.signal,
    timed_out: ended?.timedOut ?? false,
    out_of_memory: ended?.outOfMemory ?? false,
    execution_time: ended === undefined ? null : ended.wallMs / 1000,
    cpu_time: ended === undefined ? null : ended.cpuMs / 1000,
  };
}

import type { CommandContext } from "../command-context.ts";
import { withExamples, withServerOptions } from "../command-options.ts";
import type { CommandOptions } from "../connection.ts";

/** `session …`: the sessions that `execute`, `exec` and `cp` work in. */
export function addSession({ program, signal }: CommandContext): void {
  const session = program.command("session").description("the sessions that execute, exec and cp work in");
  const close = withServerOptions(session.command("close"))
    .description("end the session of the last execute with its VM and files")
    .argument("[id]", "end this one instead")
    .action(async (id: string | undefined, flags: CommandOptions) => {
      const { closeSession } = await import("../session-commands.ts");
      await closeSession({ ...flags, ...(id === undefined ? {} : { session: id }) }, signal);
    });
  withExamples(close, ["instavm session close"]);
  const list = withServerOptions(session.command("ls").alias("list"))
    .description("list the live sessions")
    .action(async (flags: CommandOptions) => {
      const { listSessions } = await import("../session-commands.ts");
      await listSessions(flags, signal);
    });
  withExamples(list, ["instavm session ls", "instavm session ls --json"]);
}

import { InvalidArgumentError } from "commander";
import type { Command } from "commander";
import { signalNames, type SignalName } from "instavm";
import type { ListCommandsOptions, LogsOptions, SignalOptions } from "../background-commands.ts";
import type { CommandContext } from "../command-context.ts";
import { wholeBetween, withExamples, withServerOptions } from "../command-options.ts";

const highestId = 0xff_ff_ff_ff;

/** `commands …`: what `exec --detach` started. */
export function addCommands(context: CommandContext): void {
  const commands = context.program.command("commands").description("what exec --detach started in a VM");
  addList(commands, context);
  addLogs(commands, context);
  addKill(commands, context);
}

function addList(commands: Command, { signal }: CommandContext): void {
  const list = ofSession(commands.command("ls").alias("list"))
    .description("list those that run and the last ones that ended, oldest first")
    .option("--tag <text>", "only those with exactly this tag")
    .action(async (flags: ListCommandsOptions) => {
      const { listCommands } = await import("../background-commands.ts");
      await listCommands(flags, signal);
    });
  withExamples(list, ["instavm commands ls", "instavm commands ls --tag web --json"]);
}

function addLogs(commands: Command, { signal, finish }: CommandContext): void {
  const logs = ofSession(commands.command("logs"))
    .description("show what one printed; --json prints an event a line")
    .argument("<command>", "what exec --detach printed", wholeBetween(1, highestId))
    .option("-f, --follow", "until it ends; then its exit code")
    .option(
      "--offset <bytes>",
      "begin here, not at the first byte that is kept",
      wholeBetween(0, Number.MAX_SAFE_INTEGER),
    )
    .action(async (id: number, flags: LogsOptions) => {
      const { showLogs } = await import("../background-commands.ts");
      finish(await showLogs(id, flags, signal));
    });
  withExamples(logs, ["instavm commands logs 3", "instavm commands logs 3 --follow | grep error"]);
}

function addKill(commands: Command, { signal }: CommandContext): void {
  const kill = ofSession(commands.command("kill"))
    .description("send a signal to one and its process group; KILL ends all that it started")
    .argument("<command>", "what exec --detach printed", wholeBetween(1, highestId))
    .option("--signal <signal>", "a name or a number, by default TERM", signalOf)
    .action(async (id: number, flags: SignalOptions) => {
      const { killCommand } = await import("../background-commands.ts");
      await killCommand(id, flags, signal);
    });
  withExamples(kill, ["instavm commands kill 3", "instavm commands kill 3 --signal KILL"]);
}

function ofSession(command: Command): Command {
  return withServerOptions(command).option("-s, --session <id>", "of this session's VM, not that of the last call");
}

/** `TERM`, `SIGTERM` and `15` are the same. */
function signalOf(text: string): SignalName | number {
  if (/^[1-9][0-9]?$/.test(text)) return Number(text);
  const wanted = `SIG${text.toUpperCase().replace(/^SIG/, "")}`;
  const name = signalNames.find((each) => each === wanted);
  if (name !== undefined) return name;
  throw new InvalidArgumentError(`Expected a number or one of ${signalNames.join(", ")}.`);
}

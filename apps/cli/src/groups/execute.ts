import { Option } from "commander";
import type { Command } from "commander";
import { countSources } from "../code-source.ts";
import type { CodeSource } from "../code-source.ts";
import type { CommandContext } from "../command-context.ts";
import { numberBetween, withExamples, withServerOptions } from "../command-options.ts";
import type { ServerOptions } from "../settings.ts";

interface RunFlags extends ServerOptions {
  readonly language?: "python" | "javascript" | "bash";
  readonly session?: string;
  readonly timeout?: number;
  readonly json?: boolean;
}

interface ExecuteFlags extends RunFlags {
  readonly code?: string;
  readonly file?: string;
}

interface ExecFlags extends RunFlags {
  readonly cmd?: string;
  readonly async?: boolean;
  readonly detach?: boolean;
  readonly tag?: string;
}

interface ResultFlags extends ServerOptions {
  readonly pollInterval?: number;
  readonly json?: boolean;
}

/** `execute`, `exec` and `exec result`. */
export function addExecute(context: CommandContext): void {
  const { program, signal, finish } = context;
  const execute = withRunOptions(program.command("execute"))
    .description("run Python, JavaScript or Bash in a microVM; its output, its exit code")
    .argument("[-]", "read the code from standard input")
    .option("-c, --code <code>", "the code itself")
    .option("-f, --file <path>", "a file with the code")
    .action(async (dash: string | undefined, flags: ExecuteFlags, command: Command) => {
      if (dash !== undefined && dash !== "-") {
        command.error(`error: unexpected argument '${dash}'; expected --code, --file or - for standard input`);
      }
      const source = { code: flags.code, file: flags.file, stdin: dash === "-" };
      expectOneSource(command, source, "--code, --file and -");
      const { executeCommand } = await import("../execute-command.ts");
      finish(await executeCommand({ ...flags, source }, signal));
    });
  withExamples(execute, [
    'instavm execute --code "import sys; print(sys.version)"',
    "instavm execute --file analysis.py --timeout 300",
    "echo 'print(6 * 7)' | instavm execute -",
  ]);
  addExec(context);
}

function addExec({ program, signal, finish }: CommandContext): void {
  const exec = withRunOptions(program.command("exec"))
    .description("run Python, JavaScript or Bash in a microVM and show its output as it comes; its exit code")
    .argument("[file]", "a file with the code, - for standard input")
    .option("-c, --cmd <code>", "the code itself")
    .option("--async", "do not wait for its end; print the id of a task, whose output comes with its end")
    .addOption(
      new Option(
        "-d, --detach",
        "leave it running as a program of its own, Bash unless the language or the file's name says otherwise; print its id",
      ).conflicts("async"),
    )
    .option("--tag <text>", "with --detach: text to find it by")
    .action(async (file: string | undefined, flags: ExecFlags, command: Command) => {
      const source = { code: flags.cmd, file: file === "-" ? undefined : file, stdin: file === "-" };
      expectOneSource(command, source, "a file, --cmd and -");
      if (flags.detach === true) {
        const { execDetached } = await import("../background-commands.ts");
        await execDetached({ ...flags, source }, signal);
        return;
      }
      if (flags.tag !== undefined) command.error("error: --tag needs --detach");
      const { execAsync, execCommand } = await import("../exec-command.ts");
      if (flags.async === true) await execAsync({ ...flags, source }, signal);
      else finish(await execCommand({ ...flags, source }, signal));
    });
  withExamples(exec, [
    'instavm exec --language bash --cmd "for i in 1 2 3; do date; sleep 1; done"',
    "instavm exec train.py --timeout 600",
    "TASK=$(instavm exec --async train.py)",
    'instavm exec result "$TASK"',
    'instavm exec --detach --tag web --cmd "python3 -m http.server 8000"',
  ]);
  addExecResult(exec, { signal, finish });
}

function addExecResult(exec: Command, { signal, finish }: Omit<CommandContext, "program">): void {
  const result = withServerOptions(exec.command("result"))
    .description("wait for code in the background; its output, its exit code")
    .argument("<task>", "what exec --async printed")
    .option("--poll-interval <seconds>", "time between two looks, by default 1", numberBetween(0.1, 3600))
    .action(async (task: string, flags: ResultFlags) => {
      const { execResult } = await import("../exec-command.ts");
      finish(await execResult(task, flags, signal));
    });
  withExamples(result, ["instavm exec result 8a6e0804-2bd0-4672-b79d-d97027f9071a --poll-interval 5"]);
}

function withRunOptions(command: Command): Command {
  return withServerOptions(command)
    .addOption(
      new Option("-l, --language <language>", "by default Python when the code compiles, else Bash").choices([
        "python",
        "javascript",
        "bash",
      ]),
    )
    .option("-s, --session <id>", "run in this session, not in that of the last call")
    .option(
      "-t, --timeout <seconds>",
      "stop the program after this time, 1 to 600, by default 60",
      numberBetween(1, 600),
    );
}

function expectOneSource(command: Command, source: CodeSource, expected: string): void {
  const count = countSources(source);
  if (count === 1) return;
  command.error(`error: expected one of ${expected} for standard input, got ${String(count)} of them`);
}

import { readFileSync } from "node:fs";
import { Command, InvalidArgumentError, Option } from "commander";
import { countSources } from "./code-source.ts";
import { textAt } from "./json-file.ts";
import type { HostCommand } from "./host-commands.ts";
import type { ServerOptions } from "./settings.ts";

/** The parsed program: `exitCode` is what the command that ran wants to end with. */
export interface Program {
  readonly command: Command;
  exitCode(): number;
}

const examples = `
Examples:
  $ instavm execute --code "import sys; print(sys.version)"
  $ instavm execute --language bash --code "uname -r"
  $ instavm execute --file analysis.py --timeout 300
  $ echo 'print(6 * 7)' | instavm execute -
  $ instavm session ls
  $ instavm session close
  $ instavm server --listen 127.0.0.1:8222

Variables, files and installed packages stay from one execute to the next, until the session is closed or ends.
Environment: INSTAVM_API_KEY, INSTAVM_BASE_URL, INSTAVM_STATE_DIR.`;

/** All commands. What a command needs is loaded when it runs. */
export function makeProgram(signal: AbortSignal): Program {
  let exitCode = 0;
  const program = new Command("instavm")
    .description("Run code in microVMs of your own.")
    .version(ownVersion(), "-v, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .addHelpText("after", examples)
    .exitOverride()
    .showHelpAfterError("Add --help to see what is expected.")
    .enablePositionalOptions();
  addExecute(program, signal, (code) => {
    exitCode = code;
  });
  addSession(program, signal);
  addHostCommands(program);
  return { command: program, exitCode: () => exitCode };
}

interface ExecuteFlags extends ServerOptions {
  readonly code?: string;
  readonly file?: string;
  readonly language?: "python" | "bash";
  readonly session?: string;
  readonly timeout?: number;
  readonly json?: boolean;
}

function addExecute(program: Command, signal: AbortSignal, finish: (exitCode: number) => void): void {
  withServerOptions(program.command("execute"))
    .description("run Python or Bash in a microVM; its output, its exit code")
    .argument("[-]", "read the code from standard input")
    .option("-c, --code <code>", "the code itself")
    .option("-f, --file <path>", "a file with the code")
    .addOption(
      new Option("-l, --language <language>", "by default Python when the code compiles, else Bash").choices([
        "python",
        "bash",
      ]),
    )
    .option("-s, --session <id>", "run in this session, not in that of the last call")
    .option("-t, --timeout <seconds>", "stop the program after this time, 1 to 600", parseSeconds)
    .action(async (dash: string | undefined, flags: ExecuteFlags, command: Command) => {
      if (dash !== undefined && dash !== "-") {
        command.error(`error: unexpected argument '${dash}'; expected --code, --file or - for standard input`);
      }
      const source = { code: flags.code, file: flags.file, stdin: dash === "-" };
      if (countSources(source) !== 1) {
        command.error(
          `error: expected one of --code, --file and - for standard input, got ${String(countSources(source))} of them`,
        );
      }
      const { executeCommand } = await import("./execute-command.ts");
      finish(await executeCommand({ ...flags, source }, signal));
    });
}

function addSession(program: Command, signal: AbortSignal): void {
  const session = program.command("session").description("the sessions that execute runs in");
  withServerOptions(session.command("close"))
    .description("end the session of the last execute with its VM and files")
    .argument("[id]", "end this one instead")
    .action(async (id: string | undefined, flags: ServerOptions) => {
      const { closeSession } = await import("./session-commands.ts");
      await closeSession({ ...flags, ...(id === undefined ? {} : { session: id }) }, signal);
    });
  withServerOptions(session.command("ls").alias("list"))
    .description("list the live sessions")
    .action(async (flags: ServerOptions) => {
      const { listSessions } = await import("./session-commands.ts");
      await listSessions(flags, signal);
    });
}

function addHostCommands(program: Command): void {
  passOn(program.command("server"), "serve").description("run the server on this machine, in the foreground");
  passOn(program.command("doctor"), "doctor").description("check what this machine has and lacks");
  const image = program.command("image").description("the images that VMs start from");
  passOn(image.command("build"), "build-image").description("build the base image, when it is not built yet");
}

/** Every argument, `--help` too, is the server program's to understand. */
function passOn(command: Command, hostCommand: HostCommand): Command {
  return command
    .argument("[args...]", "see --help")
    .helpOption(false)
    .allowUnknownOption()
    .passThroughOptions()
    .action(async (args: readonly string[]) => {
      const { becomeServerProgram } = await import("./host-commands.ts");
      becomeServerProgram(hostCommand, args);
    });
}

function withServerOptions(command: Command): Command {
  return command
    .option("--api-key <key>", "by default INSTAVM_API_KEY, then the config file, then a local server's admin key")
    .option("--base-url <url>", "the server, by default INSTAVM_BASE_URL, then http://127.0.0.1:8222")
    .option("-j, --json", "print the result as JSON");
}

function parseSeconds(value: string): number {
  const seconds = Number(value);
  if (!Number.isFinite(seconds) || seconds < 1 || seconds > 600) {
    throw new InvalidArgumentError("Expected a number of seconds from 1 to 600.");
  }
  return seconds;
}

function ownVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  return textAt(manifest, "version") ?? "unknown";
}

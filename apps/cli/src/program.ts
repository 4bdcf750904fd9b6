import { readFileSync } from "node:fs";
import { Command } from "commander";
import type { CommandContext } from "./command-context.ts";
import { withExamples } from "./command-options.ts";
import { addAuth } from "./groups/auth.ts";
import { addCommands } from "./groups/commands.ts";
import { addCompletion } from "./groups/completion.ts";
import { addCopy } from "./groups/copy.ts";
import { addExecute } from "./groups/execute.ts";
import { addHost } from "./groups/host.ts";
import { addSession } from "./groups/session.ts";
import { addVms } from "./groups/vms.ts";
import { textAt } from "./json-file.ts";

/** The parsed program: `exitCode` is what the command that ran wants to end with. */
export interface Program {
  readonly command: Command;
  exitCode(): number;
}

const examples = [
  'instavm execute --code "import sys; print(sys.version)"',
  'instavm exec --language bash --cmd "for i in 1 2 3; do date; sleep 1; done"',
  "instavm cp data.csv :data.csv",
  "instavm create --name build --vcpu 4 --memory 2048",
  "instavm ls",
  "instavm session close",
  "instavm server --listen 127.0.0.1:8222",
];

const remarks = `
Variables, files and installed packages stay from one execute to the next, until the session is closed or ends.
Exit codes: 0, 1 for an error, 2 for a mistake in the command line, 130 for an interrupt; execute and exec: the program's own.
Environment: INSTAVM_API_KEY, INSTAVM_BASE_URL, INSTAVM_STATE_DIR. Config file: ~/.instavm/config.json.`;

/** All commands. What a command needs is loaded when it runs. */
export function makeProgram(signal: AbortSignal): Program {
  let exitCode = 0;
  const program = new Command("instavm")
    .description("Run code in microVMs of your own.")
    .version(ownVersion(), "-v, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .exitOverride()
    .showHelpAfterError("Add --help to see what is expected.")
    .enablePositionalOptions();
  withExamples(program, examples).addHelpText("after", remarks);
  const finish = (code: number): void => {
    exitCode = code;
  };
  const context: CommandContext = { program, signal, finish };
  addExecute(context);
  addCommands(context);
  addCopy(context);
  addSession(context);
  addVms(context);
  addAuth(context);
  addHost(context);
  addCompletion(context);
  return { command: program, exitCode: () => exitCode };
}

function ownVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  return textAt(manifest, "version") ?? "unknown";
}

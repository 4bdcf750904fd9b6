import { spawn } from "node:child_process";
import { rootDirectory } from "../sources.ts";

/** How a program ended; `output` is stdout and stderr in the order they came. */
export interface ProgramEnd {
  readonly exitCode: number;
  readonly output: string;
  readonly seconds: number;
}

/** Runs a program in the checkout's root with the colours off; `show` also copies its output to the terminal as it comes. */
export async function runProgram(argv: readonly string[], show = false): Promise<ProgramEnd> {
  const [program = "", ...args] = argv;
  const started = performance.now();
  const child = spawn(program, args, {
    cwd: rootDirectory,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NO_COLOR: "1", CI: "1", CARGO_TERM_COLOR: "never" },
  });
  const chunks: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (chunk: string) => {
      chunks.push(chunk);
      if (show) process.stdout.write(chunk);
    });
  }
  let stoppedBy: NodeJS.Signals | undefined;
  const stop = (signal: NodeJS.Signals): void => {
    stoppedBy = signal;
    child.kill("SIGTERM");
  };
  process.once("SIGINT", stop).once("SIGTERM", stop);
  const exitCode = await new Promise<number>((resolve) => {
    child.once("error", (error) => {
      chunks.push(`${program}: ${error.message}\n`);
      resolve(127);
    });
    child.once("close", (code) => {
      resolve(code ?? 1);
    });
  });
  process.off("SIGINT", stop).off("SIGTERM", stop);
  // Once the child has tidied up, the signal does to us what it was meant to: nothing more is run.
  if (stoppedBy !== undefined) process.kill(process.pid, stoppedBy);
  return { exitCode, output: chunks.join(""), seconds: (performance.now() - started) / 1000 };
}

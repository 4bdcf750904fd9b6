import type { Log } from "@instavm/core";
import { exitCodeOf, failureText } from "./failure.ts";
import { lineLog, writeToStderr } from "./log/stderr-log.ts";
import { parseCommandLine, usage } from "./settings/command-line.ts";
import type { CommandLine } from "./settings/command-line.ts";
import { readSettings } from "./settings/settings.ts";
import type { Settings } from "./settings/settings.ts";
import { stopSignal } from "./stop-signal.ts";

/** A stop that takes longer is cut off, in ms. */
const stopLimitMs = 20_000;

/** Runs one command to its end; resolves with the exit code. */
export async function run(args: readonly string[]): Promise<number> {
  ignoreBrokenPipes();
  const stop = stopSignal();
  stop.addEventListener("abort", () => setTimeout(() => process.exit(1), stopLimitMs).unref());
  try {
    const commandLine = parseCommandLine(args);
    const settings = readSettings(commandLine.flags, process.env);
    return await runners[commandLine.command](contextOf(settings, stop));
  } catch (error) {
    if (stop.aborted && error === stop.reason) return 0;
    process.stderr.write(failureText(error));
    return exitCodeOf(error);
  }
}

/** A terminal or log reader that goes away must not end the server. */
function ignoreBrokenPipes(): void {
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);
}

interface Context {
  readonly settings: Settings;
  readonly log: Log;
  /** Aborts to end the command. */
  readonly stop: AbortSignal;
  /** Writes one line to stdout. */
  readonly print: (line: string) => void;
}

/** Each command's modules are loaded only when it runs. */
const runners: Readonly<Record<CommandLine["command"], (context: Context) => Promise<number>>> = {
  help: async ({ print }) => {
    print(usage());
    return 0;
  },
  serve: async ({ settings, log, stop, print }) => {
    const { serve } = await import("./serve.ts");
    await serve({ settings, log, stop, announce: print });
    return 0;
  },
  doctor: async ({ settings, print }) => {
    const { doctor } = await import("./doctor.ts");
    return (await doctor(settings, print)) ? 0 : 1;
  },
  "build-image": async ({ settings, stop, print }) => {
    const { buildImage } = await import("./build-image.ts");
    await buildImage({ settings, stop, print });
    return 0;
  },
};

function contextOf(settings: Settings, stop: AbortSignal): Context {
  const format = settings.logFormat ?? (process.stderr.isTTY ? "plain" : "json");
  const print = (line: string): void => {
    process.stdout.write(`${line}\n`);
  };
  return { settings, stop, log: lineLog(format, writeToStderr), print };
}

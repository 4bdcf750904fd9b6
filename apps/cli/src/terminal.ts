import { styleText } from "node:util";

/** A line for the person at the terminal: stderr, so that stdout holds the program's output alone. */
export function say(line: string): void {
  process.stderr.write(`${styleText("dim", "↳", { stream: process.stderr })} ${line}\n`);
}

/** What went wrong and what to type next. */
export function sayError(message: string, next: string): void {
  const colour = (name: "red" | "cyan", text: string): string => styleText(name, text, { stream: process.stderr });
  const advice = next === "" ? "" : `${colour("cyan", "next:")}  ${next}\n`;
  process.stderr.write(`${colour("red", "error:")} ${message}\n${advice}`);
}

/**
 * Writes and waits until the text is handed to the system, so that an exit cannot cut it. Resolves with false when nobody
 * reads any more: a closed pipe, which `surviveClosedPipes` makes no failure.
 */
export async function print(stream: NodeJS.WriteStream, text: string): Promise<boolean> {
  if (text === "") return true;
  return await new Promise<boolean>((resolve) => {
    stream.write(text, (error) => {
      resolve(error === null || error === undefined);
    });
  });
}

/** Writes a value as JSON for programs to stdout. */
export async function printJson(value: unknown): Promise<void> {
  await print(process.stdout, `${JSON.stringify(value, null, 2)}\n`);
}

/** A reader that has seen enough (`| head`) is no failure; any other error of the streams still is. */
export function surviveClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
    });
  }
}

/** Milliseconds for people: `4 ms`, `0.3 ms`. */
export function formatMs(ms: number): string {
  return `${ms < 1 ? ms.toFixed(1) : ms.toFixed(0)} ms`;
}

/** A line for the person at the terminal: stderr, so that stdout holds the program's output alone. */
export function say(line: string): void {
  process.stderr.write(`↳ ${line}\n`);
}

/** What went wrong and what to type next. */
export function sayError(message: string, next: string): void {
  process.stderr.write(`error: ${message}\n${next === "" ? "" : `next:  ${next}\n`}`);
}

/** Writes and waits until the text is handed to the system, so that an exit cannot cut it. */
export async function print(stream: NodeJS.WriteStream, text: string): Promise<void> {
  if (text === "") return;
  await new Promise<void>((resolve) => {
    // An error here is a closed pipe, which `surviveClosedPipes` has dealt with.
    stream.write(text, () => {
      resolve();
    });
  });
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

import { fileURLToPath } from "node:url";
import { InstaVmError } from "instavm";

/** The commands of the server program that the CLI passes on. */
export type HostCommand = "serve" | "doctor" | "build-image";

/**
 * Becomes the server program: same process, terminal, signals and exit code. Does not return.
 * The server is another program, not a module of this one: nobody imports an app.
 */
export function becomeServerProgram(command: HostCommand, args: readonly string[]): void {
  const program = fileURLToPath(new URL("../../server/src/main.ts", import.meta.url));
  if (process.execve === undefined) {
    throw new InstaVmError("host_setup", `This command runs on Linux; this is ${process.platform}.`, {
      next: "Run it on the server's machine.",
    });
  }
  process.execve(process.execPath, [process.execPath, program, command, ...args], definedEnvironment());
}

function definedEnvironment(): Record<string, string> {
  return Object.fromEntries(
    Object.entries(process.env).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
  );
}

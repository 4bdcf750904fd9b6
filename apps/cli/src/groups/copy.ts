import type { CommandContext } from "../command-context.ts";
import { withExamples, withServerOptions } from "../command-options.ts";
import type { CommandOptions } from "../connection.ts";
import { isRemote, parsePlace } from "../copy-place.ts";

/** `cp`. */
export function addCopy({ program, signal }: CommandContext): void {
  const copy = withServerOptions(program.command("cp"))
    .description("copy a file into a VM or out of it")
    .argument(
      "<from>",
      "a file here, VM:PATH, SESSION:PATH, :PATH for the session of the last call, - for standard input",
    )
    .argument("<to>", "the same, - for standard output; a directory gets the file under its own name")
    .action(async (from: string, to: string, flags: CommandOptions) => {
      if (isRemote(parsePlace(from)) === isRemote(parsePlace(to))) {
        copy.error(`error: expected one place here and one in a VM, as in VM:PATH; got '${from}' and '${to}'`);
      }
      const { copyFile } = await import("../copy-command.ts");
      await copyFile({ from, to }, flags, signal);
    });
  withExamples(copy, [
    "instavm cp data.csv :data.csv",
    "instavm cp q7v2kd0w9x3m1zr8tj5c:/app/plot.png .",
    "tar c src | instavm cp - :src.tar",
    "instavm cp :log.txt - | grep error",
  ]);
}

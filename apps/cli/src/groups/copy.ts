import type { CommandContext } from "../command-context.ts";
import { withExamples, withServerOptions } from "../command-options.ts";
import type { CopyOptions } from "../copy-command.ts";
import { isRemote, parsePlace } from "../copy-place.ts";

/** `cp`. */
export function addCopy({ program, signal }: CommandContext): void {
  const cp = withServerOptions(program.command("cp"))
    .description("copy a file or a directory into a VM or out of it")
    .argument(
      "<from>",
      "a file here, VM:PATH, SESSION:PATH, :PATH for the session of the last call, - for standard input",
    )
    .argument("<to>", "the same, - for standard output; a directory gets the file under its own name")
    .option("-r, --recursive", "copy a directory with all that is in it")
    .action(async (from: string, to: string, flags: CopyOptions) => {
      if (isRemote(parsePlace(from)) === isRemote(parsePlace(to))) {
        cp.error(`error: expected one place here and one in a VM, as in VM:PATH; got '${from}' and '${to}'`);
      }
      const { copy } = await import("../copy-command.ts");
      await copy({ from, to }, flags, signal);
    });
  withExamples(cp, [
    "instavm cp data.csv :data.csv",
    "instavm cp q7v2kd0w9x3m1zr8tj5c:/app/plot.png .",
    "instavm cp -r src :",
    "instavm cp -r q7v2kd0w9x3m1zr8tj5c:/app/out results",
    "tar c src | instavm cp - :src.tar",
    "instavm cp :log.txt - | grep error",
  ]);
}

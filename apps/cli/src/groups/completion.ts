import { Argument } from "commander";
import type { CommandContext } from "../command-context.ts";
import { withExamples } from "../command-options.ts";
import type { Shell } from "../completion-scripts.ts";

/** `completion`. */
export function addCompletion({ program }: CommandContext): void {
  const completion = program
    .command("completion")
    .description("print what makes a shell complete this program's commands and options")
    .addArgument(new Argument("<shell>", "which shell").choices(["bash", "zsh", "fish"]))
    .action(async (shell: Shell) => {
      const { completionScript } = await import("../completion-scripts.ts");
      const { print } = await import("../terminal.ts");
      await print(process.stdout, completionScript(program, shell));
    });
  withExamples(completion, [
    "source <(instavm completion bash)",
    "source <(instavm completion zsh)",
    "instavm completion fish | source",
  ]);
}

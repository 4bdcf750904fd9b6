import type { Command } from "commander";
import type { CommandContext } from "../command-context.ts";
import type { HostCommand } from "../host-commands.ts";

/** `server`, `doctor` and `image build`: the server program's own commands. */
export function addHost({ program }: CommandContext): void {
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
      const { becomeServerProgram } = await import("../host-commands.ts");
      becomeServerProgram(hostCommand, args);
    });
}

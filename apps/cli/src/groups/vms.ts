import { Option } from "commander";
import type { CommandContext } from "../command-context.ts";
import { jsonObject, namedValue, wholeBetween, withExamples, withServerOptions } from "../command-options.ts";
import type { CommandOptions } from "../connection.ts";
import type { CloneOptions, CreateOptions, ForkOptions, ListOptions, UpdateOptions } from "../vm-commands.ts";

const longestLifetimeS = 604_800;
const shortestLifetimeS = 20;

/** `create`, `ls`, `rm`, `fork`, `clone` and `vm …`. */
export function addVms(context: CommandContext): void {
  addCreate(context);
  addList(context);
  addRemove(context);
  addFork(context);
  addClone(context);
  addUpdate(context);
}

function addCreate({ program, signal }: CommandContext): void {
  const create = withServerOptions(program.command("create").alias("new"))
    .description("start a VM with a session of its own")
    .addOption(new Option("--type <image>", "what it starts from").choices(["standard", "computer-use", "nix-dev"]))
    .option(
      "--timeout <seconds>",
      "end it by itself after this time, 20 to 604800, by default 300",
      wholeBetween(shortestLifetimeS, longestLifetimeS),
    )
    .option("--memory <mib>", "128 to 8192, by default 512", wholeBetween(128, 8192))
    .addOption(
      new Option("--vcpu <count>", "1, 2, 4, 6 or 8, by default 2").argParser((text) => wholeBetween(1, 8)(text)),
    )
    .option("--session <id>", "give it to this session")
    .option("--name <name>", "what to call it")
    .option("--env <name=value>", "a variable for its programs; may be repeated", namedValue)
    .option("--metadata <json>", "a JSON object to find it by", jsonObject)
    .action(async (flags: CreateOptions) => {
      const { createVm } = await import("../vm-commands.ts");
      await createVm(flags, signal);
    });
  withExamples(create, [
    "instavm create",
    "instavm create --name build --vcpu 4 --memory 2048 --timeout 3600",
    "VM=$(instavm create --json | jq -r .vm_id)",
  ]);
}

function addList({ program, signal }: CommandContext): void {
  const list = withServerOptions(program.command("ls").alias("list"))
    .description("list the VMs that live, newest first")
    .option("-a, --all", "also those that have ended")
    .option("--watch", "again whenever something changes, until interrupted")
    .action(async (flags: ListOptions) => {
      const { listVms } = await import("../vm-commands.ts");
      await listVms(flags, signal);
    });
  withExamples(list, ["instavm ls", "instavm ls --all --json", "instavm ls --watch"]);
}

function addRemove({ program, signal, finish }: CommandContext): void {
  const remove = withServerOptions(program.command("rm").alias("delete"))
    .description("end VMs with their sessions and files")
    .argument("<vm...>", "ids, as ls shows them")
    .action(async (vmIds: readonly string[], flags: CommandOptions) => {
      const { removeVms } = await import("../vm-commands.ts");
      finish(await removeVms(vmIds, flags, signal));
    });
  withExamples(remove, [
    "instavm rm q7v2kd0w9x3m1zr8tj5c",
    "instavm ls --json | jq -r '.vms[].vm_id' | xargs instavm rm",
  ]);
}

function addFork({ program, signal }: CommandContext): void {
  const fork = withServerOptions(program.command("fork"))
    .description("copy a VM that runs, memory and processes included, while it goes on; all copies or none")
    .argument("<vm>", "its id")
    .option("--count <count>", "how many copies, 1 to 100, by default 1", wholeBetween(1, 100))
    .option("--name <name>", "what to call the copies")
    .option(
      "--timeout <seconds>",
      "end each by itself after this time, by default as long as the VM's own",
      wholeBetween(shortestLifetimeS, longestLifetimeS),
    )
    .option("--env <name=value>", "a variable beside those of the VM; may be repeated", namedValue)
    .option("--metadata <json>", "a JSON object beside the VM's metadata", jsonObject)
    .action(async (vmId: string, flags: ForkOptions) => {
      const { forkVm } = await import("../vm-commands.ts");
      await forkVm(vmId, flags, signal);
    });
  withExamples(fork, [
    "instavm fork q7v2kd0w9x3m1zr8tj5c",
    "instavm fork q7v2kd0w9x3m1zr8tj5c --count 10 --env BRANCH=try",
    "instavm fork q7v2kd0w9x3m1zr8tj5c --count 3 --json | jq -r '.vms[].session_id'",
  ]);
}

function addClone({ program, signal }: CommandContext): void {
  const clone = withServerOptions(program.command("clone"))
    .description("copy a VM that runs once, as fork does")
    .argument("<vm>", "its id")
    .option("--name <name>", "what to call the copy")
    .action(async (vmId: string, flags: CloneOptions) => {
      const { cloneVm } = await import("../vm-commands.ts");
      await cloneVm(vmId, flags, signal);
    });
  withExamples(clone, ["instavm clone q7v2kd0w9x3m1zr8tj5c --name spare"]);
}

function addUpdate({ program, signal }: CommandContext): void {
  const vm = program.command("vm").alias("vms").description("change VMs");
  const update = withServerOptions(vm.command("update"))
    .description("change a VM's name, lifetime or metadata")
    .argument("<vm>", "its id")
    .option("--name <name>", "what to call it")
    .option(
      "--timeout <seconds>",
      "end it by itself so long after its creation",
      wholeBetween(shortestLifetimeS, longestLifetimeS),
    )
    .option("--metadata <json>", "a JSON object in place of its metadata", jsonObject)
    .option("--memory-mb <mib>", "refused by the server while the VM runs", wholeBetween(128, 8192))
    .action(async (vmId: string, flags: UpdateOptions) => {
      const { updateVm } = await import("../vm-commands.ts");
      await updateVm(vmId, flags, signal);
    });
  withExamples(update, ["instavm vm update q7v2kd0w9x3m1zr8tj5c --name build --timeout 7200"]);
}

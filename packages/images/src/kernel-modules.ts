import { readdir, readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { InstaVmError } from "@instavm/contract";

/** A kernel module as it is loaded: its name with underscores, its file. */
export interface KernelModule {
  readonly name: string;
  readonly path: string;
}

/** A module's name, whichever of `-` and `_` is written. */
function moduleName(name: string): string {
  return name.replaceAll("-", "_");
}

/**
 * The wanted modules and all they depend on, in an order in which they can be loaded one by one. A name that the
 * kernel has built in is left out. Throws `host_setup` for a name that the kernel does not know.
 */
export async function modulesInLoadOrder(directory: string, wanted: readonly string[]): Promise<KernelModule[]> {
  const files = await moduleFiles(directory);
  const builtIn = await builtInModules(directory);
  const ordered = new Map<string, KernelModule>();
  const visit = async (name: string): Promise<void> => {
    if (ordered.has(name) || builtIn.has(name)) return;
    const path = files.get(name);
    if (path === undefined) {
      throw new InstaVmError(
        "host_setup",
        `The kernel in ${directory} has no module ${name}, which the initrd needs.`,
        {
          next: "Correct initrdModules in the image recipe.",
        },
      );
    }
    for (const needed of dependenciesOf(await readFile(path))) await visit(needed);
    ordered.set(name, { name, path });
  };
  for (const name of wanted) await visit(moduleName(name));
  return [...ordered.values()];
}

/** The modules that a module's file names as needed before it. */
export function dependenciesOf(module: Uint8Array): string[] {
  const bytes = Buffer.from(module.buffer, module.byteOffset, module.byteLength);
  // The fields of .modinfo are `key=value` texts that end with NUL; the section starts after a NUL or with the text.
  const start = bytes.indexOf("\0depends=");
  if (start < 0) return [];
  const valueStart = start + "\0depends=".length;
  const value = bytes.toString("latin1", valueStart, bytes.indexOf(0, valueStart));
  return value
    .split(",")
    .filter((name) => name !== "")
    .map(moduleName);
}

async function moduleFiles(directory: string): Promise<Map<string, string>> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  return new Map(
    entries
      .filter((entry) => entry.isFile() && entry.name.endsWith(".ko"))
      .map((entry) => [moduleName(basename(entry.name, ".ko")), join(entry.parentPath, entry.name)]),
  );
}

async function builtInModules(directory: string): Promise<Set<string>> {
  const text = await readFile(join(directory, "modules.builtin"), "utf8");
  return new Set(
    text
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => moduleName(basename(line, ".ko"))),
  );
}

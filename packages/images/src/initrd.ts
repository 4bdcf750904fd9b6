import { chmod, readFile } from "node:fs/promises";
import { join } from "node:path";
import { InstaVmError } from "@instavm/contract";
import { z } from "zod";
import type { CacheLayout } from "./cache-layout.ts";
import { hashFile, hashOf } from "./content-hash.ts";
import { cpioCharacterDevice, cpioDirectory, cpioFile, writeCpio } from "./cpio-archive.ts";
import { makeDraft } from "./drafts.ts";
import { isReadable, publish, writeDurably } from "./durable-files.ts";
import { readJsonFile } from "./json-file.ts";
import type { RootFilesystem } from "./root-filesystem.ts";

/** Changes with what lies where in the archive. */
const layoutVersion = "1";

const manifestSchema = z.object({ version: z.literal(1), agentSha256: z.string(), initrdSha256: z.string() });

/** The first root of a VM: the agent as /init, the modules it loads as /modules/*.ko, their order in /modules/load. */
export interface Initrd {
  readonly path: string;
  readonly sha256: string;
}

/** What goes into an initrd. */
export interface InitrdParts {
  readonly root: RootFilesystem;
  /** The agent's static binary. */
  readonly agentPath: string;
}

/** The initrd of these parts: the one in the cache, or a new one, which takes well under a second. */
export async function ensureInitrd(layout: CacheLayout, parts: InitrdParts): Promise<Initrd> {
  const agentSha256 = await hashAgent(parts.agentPath);
  const modules = parts.root.manifest.modules.flatMap((module) => [module.name, module.sha256]);
  const directory = join(layout.boot, hashOf([layoutVersion, agentSha256, ...modules]));
  const path = join(directory, "initrd");
  const file = await readJsonFile(join(directory, "manifest.json"), manifestSchema);
  if (file.kind === "read" && (await isReadable(path))) return { path, sha256: file.value.initrdSha256 };
  await using draft = await makeDraft(layout.boot);
  const result = join(draft.path, "initrd");
  await writeDurably(result, await archive(parts));
  const manifest = { version: 1, agentSha256, initrdSha256: await hashFile(result) };
  await writeDurably(join(draft.path, "manifest.json"), `${JSON.stringify(manifest, undefined, 2)}\n`);
  await chmod(draft.path, 0o755);
  await publish(draft.path, directory);
  return { path, sha256: manifest.initrdSha256 };
}

async function hashAgent(path: string): Promise<string> {
  try {
    return await hashFile(path);
  } catch (error) {
    throw new InstaVmError("image_missing", `The guest agent's program ${path} cannot be read.`, {
      next: "Run script/setup: it builds the agent.",
      cause: error,
    });
  }
}

async function archive(parts: InitrdParts): Promise<Uint8Array> {
  const names = parts.root.manifest.modules.map((module) => module.name);
  const load = Buffer.from(names.map((name) => `${name}\n`).join(""));
  const modules = await Promise.all(
    names.map(async (name) => cpioFile(`modules/${name}`, await readFile(join(parts.root.modulesDirectory, name)))),
  );
  return writeCpio([
    cpioDirectory("dev"),
    // The kernel opens it for /init's stdout before anything is mounted.
    cpioCharacterDevice("dev/console", 5, 1),
    cpioDirectory("modules"),
    cpioFile("modules/load", load),
    ...modules,
    cpioFile("init", await readFile(parts.agentPath), 0o755),
  ]);
}

import { stat, statfs } from "node:fs/promises";
import { join } from "node:path";
import { InstaVmError, memoryMibSchema, vcpuCountSchema } from "@instavm/contract";
import type { Log, StateFiles, Template, TemplateDraft, TemplateKey, TemplateStore } from "@instavm/core";
import { z } from "zod";
import { cacheLayout, defaultCacheDirectory } from "./cache-layout.ts";
import { hashOf } from "./content-hash.ts";
import { makeDraft, removeAbandonedDrafts } from "./drafts.ts";
import { publish, syncPath, writeDurably } from "./durable-files.ts";
import { readJsonFile } from "./json-file.ts";

const formatVersion = 1;

const keySchema = z.object({
  imageDigest: z.string(),
  engineFingerprint: z.string(),
  shape: z.object({ vcpuCount: vcpuCountSchema, memoryMib: memoryMibSchema }),
  warmth: z.string(),
});

const manifestSchema = z.object({
  version: z.literal(formatVersion),
  key: keySchema,
  /** Sizes at the time of the commit: a file that was cut since then is not loaded. */
  bytes: z.object({ memory: z.int(), state: z.int(), disk: z.int() }),
  createdAt: z.iso.datetime(),
});
type Manifest = z.infer<typeof manifestSchema>;

/** Where a store keeps its templates. */
export interface TemplateStoreOptions {
  /** Default `/var/cache/instavm`; templates are in its directory templates/. */
  readonly cacheDirectory?: string;
  readonly log: Log;
}

/** Templates as directories `templates/<hash of the key>/{manifest.json,mem,state,disk}`. */
export function openTemplateStore(options: TemplateStoreOptions): TemplateStore {
  const directory = cacheLayout(options.cacheDirectory ?? defaultCacheDirectory).templates;
  return new FileTemplateStore(directory, options.log);
}

function keyHash(key: TemplateKey): string {
  const { vcpuCount, memoryMib } = key.shape;
  return hashOf([
    String(formatVersion),
    key.imageDigest,
    key.engineFingerprint,
    `${vcpuCount}x${memoryMib}`,
    key.warmth,
  ]);
}

function stateFiles(directory: string): StateFiles {
  return {
    memoryPath: join(directory, "mem"),
    statePath: join(directory, "state"),
    diskPath: join(directory, "disk"),
  };
}

class FileTemplateStore implements TemplateStore {
  readonly #directory: string;
  readonly #log: Log;

  constructor(directory: string, log: Log) {
    this.#directory = directory;
    this.#log = log;
  }

  async find(key: TemplateKey, rootfsPath: string): Promise<Template | undefined> {
    const directory = join(this.#directory, keyHash(key));
    const file = await readJsonFile(join(directory, "manifest.json"), manifestSchema);
    if (file.kind === "absent") return undefined;
    const flaw = file.kind === "unusable" ? file.reason : await flawOf(directory, file.value, key);
    if (flaw === undefined) return { key, files: stateFiles(directory), rootfsPath };
    this.#log.warn("template_unusable", { directory, reason: flaw });
    return undefined;
  }

  async draft(key: TemplateKey, rootfsPath: string): Promise<TemplateDraft> {
    const draft = await makeDraft(this.#directory);
    const files = stateFiles(draft.path);
    const finalPath = join(this.#directory, keyHash(key));
    const commit = async (): Promise<Template> => {
      await commitDraft({ draft: draft.path, files, key, finalPath });
      // What is left when another server on this cache was faster by a moment; its template is as good.
      await draft[Symbol.asyncDispose]();
      return { key, files: stateFiles(finalPath), rootfsPath };
    };
    const discard = async (): Promise<void> => {
      await draft[Symbol.asyncDispose]();
    };
    const freeBytes = async (): Promise<number> => {
      const { bavail, bsize } = await statfs(draft.path);
      return bavail * bsize;
    };
    return { directory: draft.path, files, freeBytes, commit, discard };
  }

  async sweep(): Promise<number> {
    return await removeAbandonedDrafts(this.#directory);
  }
}

async function flawOf(directory: string, manifest: Manifest, key: TemplateKey): Promise<string | undefined> {
  if (keyHash(manifest.key) !== keyHash(key)) {
    return `its manifest is for ${JSON.stringify(manifest.key)}, wanted is ${JSON.stringify(key)}`;
  }
  const sizes = await sizesOf(stateFiles(directory));
  for (const name of ["memory", "state", "disk"] as const) {
    if (sizes[name] === undefined) return `its ${name} file is missing`;
    if (sizes[name] !== manifest.bytes[name]) {
      return `its ${name} file has ${sizes[name]} bytes, its manifest says ${manifest.bytes[name]}`;
    }
  }
  return undefined;
}

async function sizesOf(files: StateFiles): Promise<Record<"memory" | "state" | "disk", number | undefined>> {
  const size = async (path: string): Promise<number | undefined> => {
    const found = await stat(path).catch(() => undefined);
    return found?.isFile() === true ? found.size : undefined;
  };
  return { memory: await size(files.memoryPath), state: await size(files.statePath), disk: await size(files.diskPath) };
}

interface Commit {
  readonly draft: string;
  readonly files: StateFiles;
  readonly key: TemplateKey;
  readonly finalPath: string;
}

/** Content first, manifest after it, then the name: a power cut at any point leaves a whole template or none. */
async function commitDraft(commit: Commit): Promise<void> {
  const { memory, state, disk } = await sizesOf(commit.files);
  if (memory === undefined || state === undefined || disk === undefined) {
    throw new InstaVmError(
      "internal",
      `The template in ${commit.draft} cannot be kept: a file of memory, state and disk is missing.`,
    );
  }
  const { memoryPath, statePath, diskPath } = commit.files;
  for (const path of [memoryPath, statePath, diskPath]) await syncPath(path);
  const manifest: Manifest = {
    version: formatVersion,
    key: keySchema.parse(commit.key),
    bytes: { memory, state, disk },
    createdAt: new Date().toISOString(),
  };
  await writeDurably(join(commit.draft, "manifest.json"), `${JSON.stringify(manifest, undefined, 2)}\n`);
  await publish(commit.draft, commit.finalPath);
}

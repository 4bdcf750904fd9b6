import { loadRecipe } from "./base-recipe.ts";
import type { RecipePlace } from "./base-recipe.ts";
import { defaultDiskGib, ensureBlankDisk } from "./blank-disk.ts";
import { takeLock } from "./build-lock.ts";
import { ProgressReport } from "./build-progress.ts";
import type { BuildProgress } from "./build-progress.ts";
import { cacheLayout, defaultCacheDirectory } from "./cache-layout.ts";
import type { CacheLayout } from "./cache-layout.ts";
import { removeAbandonedDrafts } from "./drafts.ts";
import { ensureInitrd } from "./initrd.ts";
import { buildRootFilesystem, findRootFilesystem, requireRoot } from "./root-filesystem.ts";
import type { RootFilesystem } from "./root-filesystem.ts";

const lockTimeoutMs = 60 * 60_000;

/** What to build and where. */
export interface BuildOptions {
  /** Default `/var/cache/instavm`. */
  readonly cacheDirectory?: string;
  /** The guest agent's static binary; without it all but the initrd is made. */
  readonly agentPath?: string;
  readonly diskGib?: number;
  readonly recipe?: RecipePlace;
  readonly onProgress?: (progress: BuildProgress) => void;
  readonly signal?: AbortSignal;
}

/** What there is after a build. */
export interface BuiltImage {
  /** Absolute. */
  readonly rootfsPath: string;
  readonly rootfsBytes: number;
  readonly kernelRelease: string;
  /** undefined when no agent was given. */
  readonly initrdPath: string | undefined;
  readonly blankDiskPath: string;
  /** false when everything was there already. */
  readonly rootWasBuilt: boolean;
}

/**
 * Makes what is missing of the base image: root filesystem and kernel (once per recipe, about a minute and a half), initrd (once
 * per agent), empty disk. Builds of one cache directory take turns. Aborting stops the tools and leaves nothing that
 * looks finished. Throws `host_setup`, `disk_full`, `unavailable`, or `conflict` when another build takes too long.
 */
export async function buildBaseImage(options: BuildOptions = {}): Promise<BuiltImage> {
  const layout = cacheLayout(options.cacheDirectory ?? defaultCacheDirectory);
  const recipe = await loadRecipe(options.recipe);
  const progress = new ProgressReport(options.onProgress);
  if ((await findRootFilesystem(layout, recipe)) === undefined) requireRoot();
  await using _lock = await takeLock(layout.lockPath, {
    timeoutMs: lockTimeoutMs,
    signal: options.signal,
    onWait: (holder) => progress.at(`wait for another build (process ${holder})`),
  });
  await removeLeftDrafts(layout);
  const found = await findRootFilesystem(layout, recipe);
  const root = found ?? (await buildRootFilesystem({ layout, recipe, progress, signal: options.signal }));
  progress.at("empty disk");
  const disk = await ensureBlankDisk(layout, options.diskGib ?? defaultDiskGib, options.signal);
  const initrdPath = await initrdFor(layout, root, options);
  progress.at("image ready");
  return {
    rootfsPath: root.rootfsPath,
    rootfsBytes: root.manifest.rootfsBytes,
    kernelRelease: root.manifest.kernelRelease,
    initrdPath,
    blankDiskPath: disk.path,
    rootWasBuilt: found === undefined,
  };
}

async function initrdFor(
  layout: CacheLayout,
  root: RootFilesystem,
  options: BuildOptions,
): Promise<string | undefined> {
  if (options.agentPath === undefined) return undefined;
  return (await ensureInitrd(layout, { root, agentPath: options.agentPath })).path;
}

/** Whoever holds the lock is the only builder: drafts are what killed builds left. */
async function removeLeftDrafts(layout: CacheLayout): Promise<void> {
  for (const parent of [layout.images, layout.disks]) await removeAbandonedDrafts(parent);
}

import { InstaVmError } from "@instavm/contract";
import type { Image, ImageStore } from "@instavm/core";
import { once } from "@instavm/process";
import { loadRecipe } from "./base-recipe.ts";
import type { RecipePlace } from "./base-recipe.ts";
import { defaultDiskGib, ensureBlankDisk } from "./blank-disk.ts";
import { cacheLayout, defaultCacheDirectory } from "./cache-layout.ts";
import { hashOf } from "./content-hash.ts";
import { ensureInitrd } from "./initrd.ts";
import { findRootFilesystem } from "./root-filesystem.ts";

/** Where a store looks. */
export interface ImageStoreOptions {
  /** Default `/var/cache/instavm`. */
  readonly cacheDirectory?: string;
  /** The guest agent's static binary: it belongs to the image, as its first program. */
  readonly agentPath: string;
  readonly diskGib?: number;
  readonly recipe?: RecipePlace;
}

/**
 * The images in a cache directory. A root filesystem must have been built; what is made in a moment and needs no root
 * (the initrd of a new agent, the empty disk) is made when it is missing.
 */
export function openImageStore(options: ImageStoreOptions): ImageStore {
  const base = once(() => findBase(options));
  return { base };
}

async function findBase(options: ImageStoreOptions): Promise<Image> {
  const layout = cacheLayout(options.cacheDirectory ?? defaultCacheDirectory);
  const recipe = await loadRecipe(options.recipe);
  const root = await findRootFilesystem(layout, recipe);
  if (root === undefined) {
    throw new InstaVmError(
      "image_missing",
      `The image ${recipe.name} is not in ${layout.images}: expected ${recipe.digest.slice(0, 12)}…, which is what its recipe asks for now.`,
    );
  }
  const initrd = await ensureInitrd(layout, { root, agentPath: options.agentPath });
  const disk = await ensureBlankDisk(layout, options.diskGib ?? defaultDiskGib);
  const { manifest } = root;
  return {
    name: manifest.name,
    digest: hashOf([manifest.rootfsSha256, manifest.kernelSha256, initrd.sha256, disk.digest]),
    boot: { kernelPath: root.kernelPath, initrdPath: initrd.path, rootfsPath: root.rootfsPath },
    blankDiskPath: disk.path,
  };
}

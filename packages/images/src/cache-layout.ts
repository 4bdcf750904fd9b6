import { join } from "node:path";

/** Where an installation keeps what it can make again, unless it is told otherwise. */
export const defaultCacheDirectory = "/var/cache/instavm";

/** The places in a cache directory. */
export interface CacheLayout {
  readonly root: string;
  /** One directory per root filesystem, named by its digest. */
  readonly images: string;
  /** One directory per initrd, named by its digest. */
  readonly boot: string;
  /** One directory per kind of empty disk, named by its digest. */
  readonly disks: string;
  readonly templates: string;
  readonly lockPath: string;
}

export function cacheLayout(root: string): CacheLayout {
  return {
    root,
    images: join(root, "images"),
    boot: join(root, "boot"),
    disks: join(root, "disks"),
    templates: join(root, "templates"),
    lockPath: join(root, "build.lock"),
  };
}

/** How the names of directories begin that are still being made; found later, they are what a killed build left. */
export const draftPrefix = ".draft-";

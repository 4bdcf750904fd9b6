import { constants } from "node:fs";
import { access, statfs } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Check } from "@instavm/core";
import { loadRecipe } from "./base-recipe.ts";
import type { RecipePlace } from "./base-recipe.ts";
import { cacheLayout, defaultCacheDirectory } from "./cache-layout.ts";
import { findRootFilesystem } from "./root-filesystem.ts";
import { buildTools, toolEnvironment } from "./tool-run.ts";

/** Room for a few templates: each is the memory of a VM and little more. */
const comfortableBytes = 4 * 1024 ** 3;
const leastBytes = 1024 ** 3;

/** What to check. */
export interface ImageCheckOptions {
  /** Default `/var/cache/instavm`. */
  readonly cacheDirectory?: string;
  readonly recipe?: RecipePlace;
}

/** What the images need of this host, as `instavm doctor` shows it. Never throws for what it finds. */
export async function imageChecks(options: ImageCheckOptions = {}): Promise<Check[]> {
  const layout = cacheLayout(options.cacheDirectory ?? defaultCacheDirectory);
  const image = await checkImage(layout.root, options.recipe);
  return [await checkTools(image.outcome === "ok"), image, await checkSpace(layout.root)];
}

async function checkTools(imageIsBuilt: boolean): Promise<Check> {
  const missing: string[] = [];
  const packages = new Set<string>();
  for (const [program, package_] of buildTools) {
    if (await isOnPath(program)) continue;
    missing.push(program);
    packages.add(package_);
  }
  return {
    subject: "image tools",
    // Only a new image takes them all.
    outcome: missing.length === 0 ? "ok" : imageIsBuilt ? "warning" : "failed",
    seen: missing.length === 0 ? "all found" : `missing: ${missing.join(", ")}`,
    expected: buildTools.map(([program]) => program).join(", "),
    remedy: missing.length === 0 ? "" : `apt-get install ${[...packages].join(" ")}`,
  };
}

async function isOnPath(program: string): Promise<boolean> {
  for (const directory of (toolEnvironment()["PATH"] ?? "").split(":")) {
    if (directory === "") continue;
    try {
      await access(join(directory, program), constants.X_OK);
      return true;
    } catch {
      continue;
    }
  }
  return false;
}

async function checkImage(cacheDirectory: string, place: RecipePlace | undefined): Promise<Check> {
  const subject = "base image";
  const remedy = "script/setup";
  try {
    const recipe = await loadRecipe(place);
    const expected = `the image of recipe ${recipe.digest.slice(0, 12)} in ${cacheDirectory}`;
    const found = await findRootFilesystem(cacheLayout(cacheDirectory), recipe);
    if (found === undefined) return { subject, outcome: "failed", seen: "not built", expected, remedy };
    const { rootfsBytes, kernelRelease } = found.manifest;
    const seen = `${Math.round(rootfsBytes / 1024 ** 2)} MiB, kernel ${kernelRelease}`;
    return { subject, outcome: "ok", seen, expected, remedy: "" };
  } catch (error) {
    const seen = error instanceof Error ? error.message : String(error);
    return { subject, outcome: "failed", seen, expected: "a recipe that can be read", remedy: "git status" };
  }
}

async function checkSpace(cacheDirectory: string): Promise<Check> {
  const { free, path } = await freeSpace(cacheDirectory);
  const gib = (free / 1024 ** 3).toFixed(1);
  return {
    subject: "disk space for images and templates",
    outcome: free >= comfortableBytes ? "ok" : free >= leastBytes ? "warning" : "failed",
    seen: `${gib} GiB free in ${path}`,
    expected: "at least 4 GiB",
    remedy: free >= comfortableBytes ? "" : `df -h ${path}`,
  };
}

/** Of the filesystem in which a directory is, or would be. */
async function freeSpace(directory: string): Promise<{ readonly free: number; readonly path: string }> {
  for (let path = directory; ; path = dirname(path)) {
    try {
      const { bavail, bsize } = await statfs(path);
      return { free: bavail * bsize, path };
    } catch (error) {
      if (dirname(path) === path) throw error;
    }
  }
}

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { InstaVmError } from "@instavm/contract";
import { z } from "zod";
import { hashOf, hashTree } from "./content-hash.ts";
import { readJsonFile } from "./json-file.ts";

/** Changes whenever the same recipe gives another image: another layout, another tool option. */
const builderVersion = "1";

const recipeSchema = z.strictObject({
  name: z.string(),
  suite: z.string(),
  variant: z.string(),
  components: z.array(z.string()).min(1),
  packages: z.array(z.string()).min(1),
  kernelPackage: z.string(),
  /** By module name; what they depend on is found. */
  initrdModules: z.array(z.string()).min(1),
  aptOptions: z.array(z.string()),
  dpkgOptions: z.array(z.string()),
  /** npm's archive in its registry, and what the bytes must hash to (`sha512-…`). */
  npm: z.strictObject({ version: z.string(), integrity: z.string() }).optional(),
  /** Files of the interpreter's directory that lie beside IPython in the image. */
  interpreterModules: z.array(z.string()),
});

/** Where a recipe's files are, absolute. */
export interface RecipePlace {
  /** Holds recipe.json, customize.sh and what they name. */
  readonly directory: string;
  /** Holds the modules of the guest's Python interpreter. */
  readonly interpreterDirectory: string;
}

/** What a root filesystem is made from. */
export interface Recipe extends z.infer<typeof recipeSchema> {
  readonly place: RecipePlace;
  /** Hex SHA-256 over all files it is made from and the builder's version. */
  readonly digest: string;
}

/** The recipe in this repository. */
const basePlace: RecipePlace = {
  directory: join(import.meta.dirname, "../base"),
  interpreterDirectory: join(import.meta.dirname, "../../../guest/interpreters/python"),
};

/** Reads a recipe and computes its digest. Throws `host_setup` when a file is missing or wrong. */
export async function loadRecipe(place: RecipePlace = basePlace): Promise<Recipe> {
  const path = join(place.directory, "recipe.json");
  const file = await readJsonFile(path, recipeSchema);
  if (file.kind !== "read") {
    const seen = file.kind === "absent" ? "it is missing" : file.reason;
    throw new InstaVmError("host_setup", `The image recipe ${path} cannot be used: ${seen}.`, {
      next: "Restore the file from the repository.",
    });
  }
  const parts = [builderVersion, await hashTree(place.directory)];
  for (const name of file.value.interpreterModules) {
    parts.push(name, await readFile(join(place.interpreterDirectory, name), "utf8"));
  }
  return { ...file.value, place, digest: hashOf(parts) };
}

import { readFile } from "node:fs/promises";
import type { z } from "zod";

/** Why a file did not give what was expected of it. */
export type JsonFile<T> =
  | { readonly kind: "read"; readonly value: T }
  | { readonly kind: "absent" }
  | { readonly kind: "unusable"; readonly reason: string };

/** Reads a JSON file of a known shape. Never throws for what is in the file. */
export async function readJsonFile<T>(path: string, schema: z.ZodType<T>): Promise<JsonFile<T>> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR")) {
      return { kind: "absent" };
    }
    return { kind: "unusable", reason: error instanceof Error ? error.message : String(error) };
  }
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch {
    return { kind: "unusable", reason: "it is no JSON" };
  }
  const parsed = schema.safeParse(raw);
  if (parsed.success) return { kind: "read", value: parsed.data };
  const issue = parsed.error.issues[0];
  return {
    kind: "unusable",
    reason: issue === undefined ? "it has another shape" : `${issue.path.join(".")}: ${issue.message}`,
  };
}

import { readFileSync } from "node:fs";
import { text } from "node:stream/consumers";
import { InstaVmError } from "instavm";

/** Where `execute` takes the code from: exactly one of these. */
export interface CodeSource {
  readonly code: string | undefined;
  readonly file: string | undefined;
  /** Standard input. */
  readonly stdin: boolean;
}

/** How many sources are named; anything but 1 is a mistake of the caller. */
export function countSources(source: CodeSource): number {
  return [source.code !== undefined, source.file !== undefined, source.stdin].filter(Boolean).length;
}

/** The code. Throws `bad_request` for a file that cannot be read. */
export async function readCode(source: CodeSource): Promise<string> {
  if (source.code !== undefined) return source.code;
  if (source.file === undefined) return await text(process.stdin);
  try {
    return readFileSync(source.file, "utf8");
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new InstaVmError("bad_request", `The file ${source.file} cannot be read: ${reason}.`, {
      next: "Check the path given with --file.",
      cause,
    });
  }
}

import { readFileSync } from "node:fs";

/** A file's text; undefined when it is not there or may not be read. */
export function readTextFile(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** A file's JSON; undefined when it is not there, may not be read or is no JSON. */
export function readJsonFile(path: string): unknown {
  const text = readTextFile(path);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The object under a name; undefined for everything else. */
export function recordAt(value: unknown, name: string): object | undefined {
  const found = valueAt(value, name);
  return typeof found === "object" && found !== null ? found : undefined;
}

/** The text under a name; undefined for everything else. */
export function textAt(value: unknown, name: string): string | undefined {
  const found = valueAt(value, name);
  return typeof found === "string" && found !== "" ? found : undefined;
}

function valueAt(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null) return undefined;
  return Object.entries(value).find(([key]) => key === name)?.[1];
}

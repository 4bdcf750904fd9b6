import { invalid } from "../http/validate.ts";

type Metadata = Readonly<Record<string, unknown>>;

/** Reads the `metadata` of a list's query; throws `invalid` unless it is a JSON object. */
export function parseMetadataFilter(text: string): Metadata {
  const value = parseJson(text);
  if (isObject(value)) return value;
  throw invalid([{ loc: ["query", "metadata"], msg: "expected a JSON object", type: "invalid_type" }]);
}

/** Whether every field of the filter is in the metadata with an equal value. */
export function holds(metadata: Metadata, filter: Metadata): boolean {
  return Object.entries(filter).every(
    ([name, value]) => Object.hasOwn(metadata, name) && JSON.stringify(metadata[name]) === JSON.stringify(value),
  );
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is Metadata {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

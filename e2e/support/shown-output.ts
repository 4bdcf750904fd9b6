import { isDeepStrictEqual } from "node:util";
import type { ShownOutput } from "./snippets.ts";

/** Stands for what changes from run to run: an id, a time, a figure. */
const wildcard = "…";

/**
 * Whether a program printed what its page shows. In `text`, `…` stands for anything within a line, and a line of `…` alone
 * for any lines; spaces at the end do not count. In `json`, `"…"` stands for any value and `…` in a longer text for a part
 * of its line; the order of fields does not count.
 */
export function isAsShown(shown: ShownOutput, stdout: string): boolean {
  if (shown.kind === "json") return isSameJson(JSON.parse(shown.text), parsed(stdout));
  return textPattern(shown.text).test(stdout.trimEnd());
}

function textPattern(shown: string): RegExp {
  const lines = shown.trimEnd().split("\n");
  const patterns = lines.map((line) =>
    line.trim() === wildcard ? String.raw`[\s\S]*` : line.split(wildcard).map(literally).join(".*"),
  );
  return new RegExp(`^${patterns.join("\n")}$`);
}

function literally(text: string): string {
  return text.replaceAll(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`);
}

/** Undefined for what is no JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isSameJson(shown: unknown, seen: unknown): boolean {
  if (shown === wildcard) return seen !== undefined;
  if (typeof shown === "string" && typeof seen === "string" && shown.includes(wildcard)) {
    return textPattern(shown).test(seen.trimEnd());
  }
  if (Array.isArray(shown) && Array.isArray(seen)) {
    return shown.length === seen.length && shown.every((part, index) => isSameJson(part, seen[index]));
  }
  if (!isRecord(shown) || !isRecord(seen)) return isDeepStrictEqual(shown, seen);
  const names = Object.keys(shown);
  return names.length === Object.keys(seen).length && names.every((name) => isSameJson(shown[name], seen[name]));
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

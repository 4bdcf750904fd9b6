import { InstaVmError } from "@instavm/contract";
import type { FieldError } from "@instavm/contract";
import { z } from "zod";

/** Where a value came from, as `loc` names it. */
export type Place = "body" | "query" | "header";

/** Parses one part of a request; throws `invalid` that names the fields. */
export function validate<Schema extends z.ZodType>(schema: Schema, value: unknown, place: Place): z.output<Schema> {
  const result = z.safeParse(schema, value);
  if (result.success) return result.data;
  throw invalid(result.error.issues.map((issue) => fieldError(issue, value, place)));
}

/** An `invalid` whose message names the first fields. */
export function invalid(errors: readonly FieldError[]): InstaVmError {
  const sentences = errors.slice(0, 3).map(({ loc, msg }) => `${place(loc)}: ${lowerFirst(msg)}.`);
  const rest = errors.length > 3 ? ` ${errors.length - 3} more fields are wrong.` : "";
  return new InstaVmError("invalid", sentences.join(" ") + rest, { errors: errors.slice(0, 20) });
}

function fieldError(issue: z.core.$ZodIssue, value: unknown, from: Place): FieldError {
  const path = issue.path.map((step) => (typeof step === "symbol" ? String(step) : step));
  return { loc: [from, ...path], msg: issue.message + observed(issue, value), type: issue.code };
}

/** The value itself where it is short and cannot be a secret: a number, or a choice that is none. */
function observed(issue: z.core.$ZodIssue, root: unknown): string {
  const value = issue.path.reduce<unknown>((at, step) => (isObject(at) ? at[step] : undefined), root);
  if (typeof value === "number" || typeof value === "boolean") return `, got ${value}`;
  return typeof value === "string" && issue.code === "invalid_value"
    ? `, got ${JSON.stringify(value.slice(0, 40))}`
    : "";
}

function isObject(value: unknown): value is Readonly<Record<PropertyKey, unknown>> {
  return typeof value === "object" && value !== null;
}

function place(loc: FieldError["loc"]): string {
  const [from, ...path] = loc;
  return path.length === 0 ? `The request's ${from}` : `The ${from} field ${path.join(".")}`;
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

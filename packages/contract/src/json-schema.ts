import { z } from "zod";

/** A JSON Schema of draft 2020-12, as OpenAPI 3.1 takes it. */
export type JsonSchema = z.core.JSONSchema.BaseSchema;

/** Metadata of a field that is understood and refused: a later release brings what it asks for, and no document names it. */
export const laterField = "x-later";

/** A schema as JSON Schema: of what is sent (`input`) or of what is answered (`output`). */
export function jsonSchema(schema: z.ZodType, io: "input" | "output"): JsonSchema {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: "any" });
  if (rest.properties === undefined) return rest;
  const shown = Object.entries(rest.properties).filter(([, property]) => asSchema(property)[laterField] !== true);
  return { ...rest, properties: Object.fromEntries(shown) };
}

/** Whether a schema is of an object without any named field. */
export function isEmptyObject(schema: JsonSchema): boolean {
  return schema.type === "object" && Object.keys(schema.properties ?? {}).length === 0;
}

/** What a sub-schema says; JSON Schema also allows plain `true` and `false`. */
export function asSchema(schema: JsonSchema | boolean | undefined): JsonSchema {
  return typeof schema === "object" ? schema : {};
}

/** The types that a schema allows: JSON Schema has one name for it, or a list of names. */
export function typesOf({ type }: JsonSchema): readonly string[] {
  const types: unknown = type;
  return [types].flat().filter((one) => typeof one === "string");
}

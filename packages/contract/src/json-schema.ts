import { z } from "zod";

/** A JSON Schema of draft 2020-12, as OpenAPI 3.1 takes it. */
export type JsonSchema = z.core.JSONSchema.BaseSchema;

/** A schema as JSON Schema: of what is sent (`input`) or of what is answered (`output`). */
export function jsonSchema(schema: z.ZodType, io: "input" | "output"): JsonSchema {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: "any" });
  return rest;
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

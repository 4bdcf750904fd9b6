import { asSchema, type JsonSchema, typesOf } from "./json-schema.ts";

/**
 * A value that the schema accepts and a person can read: its own example, default or first choice where it has one. Of
 * a request's optional fields only those are in it that have an example or a default.
 */
export function exampleOf(schema: JsonSchema, io: "input" | "output"): unknown {
  const [given] = schema.examples ?? [];
  if (given !== undefined) return given;
  if (schema.default !== undefined) return schema.default;
  if (schema.const !== undefined) return schema.const;
  if (schema.enum !== undefined) return schema.enum[0];
  const choice = (schema.anyOf ?? schema.oneOf ?? [])[0];
  if (choice !== undefined) return exampleOf(asSchema(choice), io);
  return exampleOfType(schema, io);
}

function exampleOfType(schema: JsonSchema, io: "input" | "output"): unknown {
  switch (typesOf(schema)[0]) {
    case "object":
      return exampleObject(schema, io);
    case "array":
      return Array.isArray(schema.items) || schema.maxItems === 0 ? [] : [exampleOf(asSchema(schema.items), io)];
    case "string":
      return "text";
    case "integer":
    case "number":
      return schema.minimum !== undefined && schema.minimum > -1e15 ? schema.minimum : 0;
    case "boolean":
      return false;
    case undefined:
    default:
      return null;
  }
}

function exampleObject({ properties = {}, required = [] }: JsonSchema, io: "input" | "output"): unknown {
  const fields = Object.entries(properties).map(([name, property]) => [name, asSchema(property)] as const);
  const shown = fields.filter(([name, property]) => required.includes(name) || (io === "input" && isTelling(property)));
  return Object.fromEntries(shown.map(([name, property]) => [name, exampleOf(property, io)]));
}

function isTelling(property: JsonSchema): boolean {
  if (property.examples !== undefined || property.default !== undefined) return true;
  return (property.anyOf ?? []).some((choice) => asSchema(choice).examples !== undefined);
}

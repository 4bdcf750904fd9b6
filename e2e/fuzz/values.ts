import { fieldsOf, listOf, textsOf } from "./document.ts";
import type { Fields } from "./document.ts";
import type { Random } from "./random.ts";

/** Known values by the names of fields: ids of things that are there, code that harms nobody. */
export type Known = Readonly<Record<string, readonly unknown[]>>;

/** How to draw values. */
export interface Draw {
  readonly random: Random;
  readonly known: Known;
}

const texts = [
  "a",
  "0",
  "x y",
  "ü ✓ 漢字 🙂",
  "a\nb\tc",
  "-rf",
  "../..",
  "'; drop table sessions; --",
  "$(id) `id` %00 %s",
  "0644",
  "root",
  "1000",
  "/tmp",
  "python",
  "<b>&amp;</b>",
  "x".repeat(150),
  "2026-01-02T03:04:05Z",
  "bytes=0-10",
];

/** A value that the schema allows. `name` is the field that it is for. */
export function valueOf(schema: Fields, name: string, draw: Draw): unknown {
  const { random, known } = draw;
  if (schema["const"] !== undefined) return schema["const"];
  const choices = listOf(schema["enum"]);
  const fitting = known[name]?.filter((value) => choices.length === 0 || choices.includes(value)) ?? [];
  if (fitting.length > 0) return random.pick(fitting);
  if (choices.length > 0) return random.pick(choices);
  const alternatives = listOf(schema["anyOf"] ?? schema["oneOf"]);
  if (schema["properties"] === undefined && alternatives.length > 0) {
    return valueOf(fieldsOf(random.pick(alternatives)), name, draw);
  }
  const [type] = [schema["type"]].flat();
  switch (type) {
    case "object":
      return objectOf(schema, draw);
    case "array":
      return arrayOf(schema, name, draw);
    case "integer":
    case "number":
      return numberOf(schema, draw);
    case "boolean":
      return random.chance(0.5);
    case "string":
      return textOf(schema, draw);
    case "null":
      return null;
    default:
      return random.pick([1, "any", true, null, { any: [1] }]);
  }
}

function objectOf(schema: Fields, draw: Draw): Fields {
  const { random } = draw;
  const properties = Object.entries(fieldsOf(schema["properties"]));
  const alternatives = listOf(schema["anyOf"] ?? schema["oneOf"]);
  const alternative = alternatives.length === 0 ? {} : fieldsOf(random.pick(alternatives));
  const required = [...textsOf(schema["required"]), ...textsOf(alternative["required"])];
  const narrower = fieldsOf(alternative["properties"]);
  const chosen = properties.filter(([name]) => required.includes(name) || random.chance(0.4));
  if (properties.length === 0) return Object.fromEntries(freeFields(schema, draw));
  return Object.fromEntries(
    chosen.map(([name, property]) => [name, valueOf(narrowed(property, narrower[name]), name, draw)]),
  );
}

/** Of a property that may be several things those that an alternative of the whole object still allows. */
function narrowed(property: unknown, narrower: unknown): Fields {
  const { type } = fieldsOf(narrower);
  if (type === undefined) return fieldsOf(property);
  const left = listOf(fieldsOf(property)["anyOf"]).find((one) => fieldsOf(one)["type"] === type);
  return type === "null" ? { const: null } : fieldsOf(left ?? property);
}

/** Fields with names of one's own, as in metadata. */
function freeFields(schema: Fields, draw: Draw): readonly (readonly [string, unknown])[] {
  const names = { type: "string", ...fieldsOf(schema["propertyNames"]) };
  return Array.from({ length: draw.random.int(0, 3) }, () => {
    const name = textOf(names, draw);
    return [name, valueOf(fieldsOf(schema["additionalProperties"]), "", draw)];
  });
}

function arrayOf(schema: Fields, name: string, draw: Draw): readonly unknown[] {
  const least = numberIn(schema, "minItems") ?? 0;
  const length = draw.random.int(least, Math.min(least + 3, numberIn(schema, "maxItems") ?? least + 3));
  return Array.from({ length }, () => valueOf(fieldsOf(schema["items"]), name, draw));
}

function numberOf(schema: Fields, { random }: Draw): number {
  const low = Math.max(numberIn(schema, "minimum") ?? 0, -1e9);
  const high = Math.min(numberIn(schema, "maximum") ?? low + 1000, 1e9);
  return random.pick([low, high, random.int(low, high)]);
}

/** Tries texts until one fits; the schema's own example fits for certain. */
function textOf(schema: Fields, { random }: Draw): string {
  const examples = textsOf(schema["examples"]);
  const pattern = typeof schema["pattern"] === "string" ? new RegExp(schema["pattern"], "u") : /^/u;
  const [least, most] = [numberIn(schema, "minLength") ?? 0, numberIn(schema, "maxLength") ?? Infinity];
  const fits = (text: string): boolean => pattern.test(text) && text.length >= least && text.length <= most;
  const fitting = [...texts, "", ...examples].filter(fits);
  return fitting.length === 0 ? "a" : random.pick(fitting);
}

function numberIn(schema: Fields, name: string): number | undefined {
  const value = schema[name];
  return typeof value === "number" ? value : undefined;
}

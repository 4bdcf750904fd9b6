import { errorTable, type ErrorCode } from "./errors.ts";
import { exampleOf } from "./example.ts";
import { type HeaderParameter, headersOf } from "./headers.ts";
import { groupOf, type OperationGroup } from "./groups.ts";
import { asSchema, isEmptyObject, type JsonSchema, jsonSchema, typesOf } from "./json-schema.ts";
import { errorCodesOf } from "./operation-errors.ts";
import { operations, type Operation } from "./operations.ts";

/** One field of a request or an answer, for people. */
export interface FieldReference {
  readonly name: string;
  /** e.g. `integer, 20 to 86400`. */
  readonly type: string;
  readonly isRequired: boolean;
  /** What it is without being given; undefined = nothing. */
  readonly fallback: unknown;
  readonly description: string;
}

/** One operation, for people. */
export interface OperationReference {
  readonly name: string;
  readonly group: OperationGroup;
  readonly method: Operation["method"];
  readonly path: string;
  readonly summary: string;
  readonly access: Operation["access"];
  readonly parameters: readonly FieldReference[];
  readonly bodyType: NonNullable<Operation["bodyType"]>;
  readonly body: readonly FieldReference[];
  /** Undefined when it takes no body. */
  readonly bodyExample: unknown;
  readonly answerTypes: NonNullable<Operation["answerTypes"]>;
  readonly isList: boolean;
  /** Of the answer, or of each element of a list. */
  readonly answer: readonly FieldReference[];
  readonly answerExample: unknown;
  readonly errors: readonly { readonly code: ErrorCode; readonly status: number; readonly next: string }[];
}

/** Every operation, in the order of the table: what the API's page and its written reference are made of. */
export function operationReferences(): readonly OperationReference[] {
  return Object.entries<Operation>(operations).map(([name, operation]) => referenceOf(name, operation));
}

function referenceOf(name: string, operation: Operation): OperationReference {
  const body = jsonSchema(operation.body, "input");
  const answer = jsonSchema(operation.answer, "output");
  const isList = answer.type === "array";
  const {
    method,
    path,
    summary,
    access,
    bodyType = "application/json",
    answerTypes = ["application/json"],
  } = operation;
  return {
    name,
    group: groupOf(operation),
    method,
    path,
    summary,
    access,
    parameters: [
      ...fieldsOf(jsonSchema(operation.params, "input")),
      ...fieldsOf(jsonSchema(operation.query, "input")),
      ...headersOf(operation).map(headerField),
    ],
    bodyType,
    body: fieldsOf(body),
    bodyExample: isEmptyObject(body) ? undefined : exampleOf(body, "input"),
    answerTypes,
    isList,
    answer: fieldsOf(isList ? asSchema(Array.isArray(answer.items) ? undefined : answer.items) : answer),
    answerExample: exampleOf(answer, "output"),
    errors: errorCodesOf(operation).map((code) => ({
      code,
      status: errorTable[code].status,
      next: errorTable[code].next,
    })),
  };
}

function headerField({ name, schema, description }: HeaderParameter): FieldReference {
  return { name, type: `header, ${typeText(schema)}`, isRequired: false, fallback: undefined, description };
}

function fieldsOf({ properties = {}, required = [] }: JsonSchema): readonly FieldReference[] {
  return Object.entries(properties).map(([name, property]) => {
    const schema = asSchema(property);
    return {
      name,
      type: typeText(schema),
      isRequired: required.includes(name) && schema.default === undefined,
      fallback: schema.default,
      description: schema.description ?? "",
    };
  });
}

/** A schema in a few words. */
function typeText(schema: JsonSchema): string {
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum !== undefined) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices !== undefined) return [...new Set(choices.map((choice) => typeText(asSchema(choice))))].join(" or ");
  if (schema.type === "array") {
    return `list of ${Array.isArray(schema.items) ? "values" : typeText(asSchema(schema.items))}`;
  }
  const types = typesOf(schema).join(" or ");
  return [types === "" ? "any value" : types, schema.format, range(schema)]
    .filter((part) => part !== undefined)
    .join(", ");
}

/** Bounds that somebody chose; those of every whole number are none. */
function range({ minimum, maximum }: JsonSchema): string | undefined {
  const [low, high] = [minimum, maximum].map((bound) =>
    bound !== undefined && Math.abs(bound) < Number.MAX_SAFE_INTEGER ? bound : undefined,
  );
  if (low !== undefined && high !== undefined) return `${low} to ${high}`;
  if (low !== undefined) return `${low} or more`;
  return high === undefined ? undefined : `${high} or less`;
}

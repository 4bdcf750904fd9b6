import { z } from "zod";
import { errorBodySchema } from "./error-body.ts";
import { errorTable, type ErrorCode } from "./errors.ts";
import { type AnswerType, operations, type Operation } from "./operations.ts";

type Json = Readonly<Record<string, unknown>>;

/** The OpenAPI 3.1 document of every operation in the table. */
export function openApiDocument(version: string): Json {
  const paths: Record<string, Record<string, Json>> = {};
  for (const [name, operation] of Object.entries<Operation>(operations)) {
    const methods = (paths[operation.path] ??= {});
    methods[operation.method.toLowerCase()] = describe(name, operation);
  }
  return {
    openapi: "3.1.0",
    info: { title: "InstaVM", version, description: "Runs code in microVMs." },
    security: [{ apiKey: [] }, { bearer: [] }],
    paths,
    components: {
      schemas: { Error: jsonSchema(errorBodySchema, "output") },
      securitySchemes: {
        apiKey: { type: "apiKey", in: "header", name: "X-API-Key" },
        bearer: { type: "http", scheme: "bearer" },
      },
    },
  };
}

function describe(name: string, operation: Operation): Json {
  const body = jsonSchema(operation.body, "input");
  return {
    operationId: name,
    summary: operation.summary,
    parameters: [...parameters("path", operation.params), ...parameters("query", operation.query)],
    ...(isEmpty(body) ? {} : { requestBody: { required: true, content: bodyContent(operation, body) } }),
    responses: {
      "200": { description: "Done", content: answerContent(operation) },
      ...failures(operation),
    },
    ...(operation.access === "open" ? { security: [] } : {}),
  };
}

function bodyContent({ bodyType = "application/json" }: Operation, schema: z.core.JSONSchema.BaseSchema): Json {
  return { [bodyType]: bodyType === "application/octet-stream" ? {} : { schema } };
}

function answerContent({ answer, answerTypes = ["application/json"] }: Operation): Json {
  return Object.fromEntries(answerTypes.map((type) => [type, { schema: answerSchema(type, answer) }]));
}

function answerSchema(type: AnswerType, answer: z.ZodType): Json {
  if (type === "application/json") return { ...jsonSchema(answer, "output") };
  return type === "text/event-stream" ? { type: "string" } : { type: "string", format: "binary" };
}

function failures(operation: Operation): Json {
  const codes: readonly ErrorCode[] = [
    ...operation.errors,
    ...(operation.access === "open" ? [] : (["unauthorized"] as const)),
    ...(operation.access === "admin" ? (["forbidden"] as const) : []),
    "internal",
  ];
  const answers: Record<string, Json> = {};
  for (const [status, ofStatus] of Map.groupBy(codes, (code) => errorTable[code].status)) {
    answers[status] = {
      description: ofStatus.map((code) => `\`${code}\``).join(", "),
      content: { "application/json": { schema: { $ref: "#/components/schemas/Error" } } },
    };
  }
  return answers;
}

function parameters(place: "path" | "query", schema: z.ZodType): readonly Json[] {
  const { properties = {}, required = [] } = jsonSchema(schema, "input");
  return Object.entries(properties).map(([name, property]) => ({
    name,
    in: place,
    required: place === "path" || required.includes(name),
    schema: property,
  }));
}

function jsonSchema(schema: z.ZodType, io: "input" | "output"): z.core.JSONSchema.BaseSchema {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: "any" });
  return rest;
}

function isEmpty(schema: z.core.JSONSchema.BaseSchema): boolean {
  if (schema.type !== "object") return false;
  return Object.keys(schema.properties ?? {}).length === 0;
}

import type { z } from "zod";
import { type ErrorBody, errorBodySchema } from "./error-body.ts";
import { errorTable, type ErrorCode } from "./errors.ts";
import { exampleOf } from "./example.ts";
import { groupOf, operationGroups } from "./groups.ts";
import { headersOf } from "./headers.ts";
import { asSchema, isEmptyObject, type JsonSchema, jsonSchema } from "./json-schema.ts";
import { errorCodesOf } from "./operation-errors.ts";
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
    info: {
      title: "InstaVM",
      version,
      summary: "Runs code in microVMs.",
      description,
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "/", description: "The server that this document comes from." }],
    security: [{ apiKey: [] }, { bearer: [] }],
    tags: operationGroups.map(({ name, description: text }) => ({ name, description: text })),
    paths,
    components: {
      schemas: { Error: errorSchema(), ErrorCode: errorCodeSchema() },
      securitySchemes: {
        apiKey: { type: "apiKey", in: "header", name: "X-API-Key" },
        bearer: { type: "http", scheme: "bearer" },
      },
    },
  };
}

const description = `Runs code that nobody has read in microVMs of your own.

Every path works with and without a final slash, but for \`/v1/vms\` (live VMs) and \`/v1/vms/\` (all of them). Answers are
JSON with status 200, or an error with a \`code\` that never changes its meaning; \`X-Request-ID\` names the request in the
server's log. Times are UTC in whole seconds.`;

function describe(name: string, operation: Operation): Json {
  const body = jsonSchema(operation.body, "input");
  return {
    operationId: name,
    tags: [groupOf(operation)],
    summary: operation.summary,
    description: `${operation.summary}. ${accessTexts[operation.access]}`,
    parameters: [
      ...parameters("path", operation.params),
      ...parameters("query", operation.query),
      ...headersOf(operation).map((header) => ({ ...header, in: "header", required: false })),
    ],
    ...(isEmptyObject(body) && operation.bodyType === undefined
      ? {}
      : { requestBody: { required: needsBody(operation), content: bodyContent(operation, body) } }),
    responses: {
      "200": { description: "Done.", headers: answerHeaders(operation), content: answerContent(operation) },
      ...(operation.hasRanges
        ? { "206": { description: "A part.", headers: requestIdHeader, content: answerContent(operation) } }
        : {}),
      ...failures(operation),
    },
    ...(operation.access === "open" ? { security: [] } : {}),
  };
}

const accessTexts: Readonly<Record<Operation["access"], string>> = {
  open: "Needs no key.",
  key: "Needs a key.",
  "key-or-body": "Needs a key, in a header or as `api_key` in the body.",
  admin: "Needs an admin's key.",
};

function answerHeaders({ hasIdempotencyKey }: Operation): Json {
  return hasIdempotencyKey ? { ...requestIdHeader, ...repeatHeader } : requestIdHeader;
}

const repeatHeader = {
  "Idempotent-Replayed": {
    description: "`true` when this is the answer of an earlier call.",
    schema: { type: "string", const: "true" },
  },
};

const requestIdHeader = {
  "X-Request-ID": { description: "The request's own, or a new one.", schema: { type: "string" } },
};

/** No body is an empty object, or no bytes. */
function needsBody({ body, bodyType = "application/json" }: Operation): boolean {
  if (bodyType === "application/octet-stream") return false;
  return bodyType !== "application/json" || !body.safeParse({}).success;
}

function bodyContent({ bodyType = "application/json" }: Operation, schema: JsonSchema): Json {
  if (bodyType === "application/octet-stream") return { [bodyType]: {} };
  return { [bodyType]: { schema, example: exampleOf(schema, "input") } };
}

function answerContent({ answer, events = {}, answerTypes = ["application/json"] }: Operation): Json {
  return Object.fromEntries(
    answerTypes.map((type) => [type, type === "text/event-stream" ? eventMedia(events) : answerMedia(type, answer)]),
  );
}

/** OpenAPI 3.1 has no place for the schemas of events. */
function eventMedia(events: NonNullable<Operation["events"]>): Json {
  const data = Object.entries(events).map(([name, schema]) => [name, jsonSchema(schema, "output")]);
  return { schema: { type: "string" }, "x-events": Object.fromEntries(data) };
}

function answerMedia(type: AnswerType, answer: z.ZodType): Json {
  if (type === "application/octet-stream" || type === "application/x-tar")
    return { schema: { type: "string", format: "binary" } };
  const schema = jsonSchema(answer, "output");
  return { schema, example: exampleOf(schema, "output") };
}

function failures(operation: Operation): Json {
  const answers: Record<string, Json> = {};
  for (const [status, codes] of Map.groupBy(errorCodesOf(operation), (code) => errorTable[code].status)) {
    answers[status] = {
      description: codes.map((code) => `\`${code}\``).join(", "),
      headers: { ...requestIdHeader, ...(status === 503 ? retryAfterHeader : {}) },
      content: {
        "application/json": {
          schema: { $ref: "#/components/schemas/Error" },
          examples: Object.fromEntries(codes.map((code) => [code, { value: errorExample(code) }])),
        },
      },
    };
  }
  return answers;
}

const retryAfterHeader = {
  "Retry-After": { description: "Seconds after which another try makes sense.", schema: { type: "integer" } },
};

function errorExample(code: ErrorCode): ErrorBody {
  const { next } = errorTable[code];
  const detail =
    code === "internal" ? "Something went wrong inside the server." : `What was seen, and what was expected.`;
  return { detail, code, next, request_id: "4f1c9c0e-7f0b-4a51-8f43-0f6d8f1b1d0a" };
}

function errorSchema(): Json {
  const schema = jsonSchema(errorBodySchema, "output");
  return { ...schema, properties: { ...schema.properties, code: { $ref: "#/components/schemas/ErrorCode" } } };
}

function errorCodeSchema(): Json {
  const rows = Object.entries(errorTable).map(
    ([code, { status, retryable, next }]) => `| \`${code}\` | ${status} | ${retryable ? "yes" : "no"} | ${next} |`,
  );
  return {
    type: "string",
    enum: Object.keys(errorTable),
    description: ["| code | status | may pass by itself | what to do |", "|---|---|---|---|", ...rows].join("\n"),
  };
}

function parameters(place: "path" | "query", schema: z.ZodType): readonly Json[] {
  const { properties = {}, required = [] } = jsonSchema(schema, "input");
  return Object.entries(properties).map(([name, property]) => {
    const { description: text, ...rest } = asSchema(property);
    return {
      name,
      in: place,
      required: place === "path" || required.includes(name),
      ...(text === undefined ? {} : { description: text }),
      schema: rest,
    };
  });
}

import { describe, expect, test } from "vitest";
import { operationsOf } from "./document.ts";
import type { FuzzRequest } from "./request.ts";
import type { FuzzAnswer } from "./send.ts";
import { Judge } from "./verdict.ts";

const problem = { schema: { $ref: "#/components/schemas/Error" }, examples: { not_found: {}, invalid: {} } };
const document = {
  components: {
    schemas: {
      Error: { type: "object", required: ["code", "request_id"], properties: { code: { type: "string" } } },
    },
  },
  paths: {
    "/things": {
      get: {
        operationId: "getThing",
        responses: {
          "200": {
            content: {
              "application/json": {
                schema: { type: "object", required: ["id"], properties: { id: { type: "integer" } } },
              },
              "text/event-stream": { "x-events": { tick: { type: "object", required: ["n"] } } },
            },
          },
          "404": { content: { "application/json": problem } },
          "422": { content: { "application/json": problem } },
        },
      },
    },
  },
};

const right: FuzzRequest = {
  method: "GET",
  path: "/things",
  query: [],
  headers: {},
  body: undefined,
  mutations: [],
  isElsewhere: false,
};

function problems(answer: Partial<FuzzAnswer> & { readonly json?: unknown }, request = right): readonly string[] {
  const [operation] = operationsOf(document);
  if (operation === undefined) throw new Error("the document has no operation");
  const headers = { "content-type": "application/json; charset=utf-8", "x-request-id": "r" };
  const body = Buffer.from(JSON.stringify(answer.json ?? { id: 1 }));
  return new Judge(document).problems(operation, request, { status: 200, headers, body, isCut: false, ...answer });
}

const error = (code: string): unknown => ({ code, request_id: "r" });
const stream = (text: string): Partial<FuzzAnswer> => ({
  headers: { "content-type": "text/event-stream" },
  body: Buffer.from(text),
});

describe("the fuzzer's judge", () => {
  test("has nothing against what is documented", () => {
    expect(problems({})).toEqual([]);
    expect(problems({ status: 404, json: error("not_found") })).toEqual([]);
    expect(problems(stream(': open\n\nevent: tick\ndata: {"n":1}\n\n'))).toEqual([]);
    expect(problems({ ...stream('event: tick\ndata: {"n":1}\n\nevent: ti'), isCut: true })).toEqual([]);
    expect(problems({ status: 405, json: error("any") }, { ...right, isElsewhere: true, mutations: ["x"] })).toEqual(
      [],
    );
  });

  test.each<[string, Partial<FuzzAnswer> & { readonly json?: unknown }]>([
    ["status 500", { status: 500, json: error("internal") }],
    ["not documented", { status: 409, json: error("conflict") }],
    ["code conflict is not documented", { status: 404, json: error("conflict") }],
    ["error body that is none", { status: 404, json: { id: 1 } }],
    ["request_id is not that of the header", { status: 404, json: { code: "not_found", request_id: "other" } }],
    ["outside its schema", { json: { id: "1" } }],
    ["content type text/html", { headers: { "content-type": "text/html" } }],
    ["an event that is not documented", stream("event: tock\ndata: {}\n\n")],
    ["an event tick outside its schema", stream("event: tick\ndata: {}\n\n")],
    ["ends inside an event", stream("event: tick\ndata: {")],
    ["what the document allows is refused", { status: 422, json: { code: "invalid", request_id: "r", errors: [] } }],
  ])("sees %s", (expected, answer) => {
    expect(problems(answer).join("\n")).toContain(expected);
  });
});

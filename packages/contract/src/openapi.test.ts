import { describe, expect, it } from "vitest";
import { errorTable } from "./errors.ts";
import { exampleOf } from "./example.ts";
import { groupOf, operationGroups } from "./groups.ts";
import { jsonSchema } from "./json-schema.ts";
import { openApiDocument } from "./openapi.ts";
import { operations, type Operation } from "./operations.ts";
import { operationReferences } from "./reference.ts";

const all = Object.entries<Operation>(operations);

describe("openApiDocument", () => {
  const text = JSON.stringify(openApiDocument("1.2.3"));

  it("names every operation once", () => {
    for (const [name] of all) expect(text.split(`"operationId":"${name}"`)).toHaveLength(2);
  });

  it("refers to nothing outside its components", () => {
    const references = [...text.matchAll(/"\$ref":"([^"]+)"/g)].map((match) => match[1]);
    expect(new Set(references)).toEqual(new Set(["#/components/schemas/Error", "#/components/schemas/ErrorCode"]));
  });

  it("lists the answer to a missing key for each operation that needs one", () => {
    const needKey = all.filter(([, operation]) => operation.access !== "open");
    expect(text.split('"401":')).toHaveLength(needKey.length + 1);
  });

  it("names no field that only a later release understands", () => {
    expect(Object.keys(jsonSchema(operations.createVm.body, "input").properties ?? {})).toContain("memory_mb");
    expect(text).not.toContain("egress_policy");
    expect(text).not.toContain("x-later");
  });

  it("knows every code of an error, and what to do", () => {
    expect(openApiDocument("1")).toMatchObject({
      components: { schemas: { ErrorCode: { enum: Object.keys(errorTable) } } },
    });
    for (const { next } of Object.values(errorTable)) expect(text).toContain(JSON.stringify(next).slice(1, -1));
  });
});

describe.each(all)("%s", (_name, operation) => {
  it("has examples that its schemas accept", () => {
    const body = exampleOf(jsonSchema(operation.body, "input"), "input");
    expect(operation.body.safeParse(body).error, JSON.stringify(body)).toBeUndefined();
    const answer = exampleOf(jsonSchema(operation.answer, "output"), "output");
    expect(operation.answer.safeParse(answer).error, JSON.stringify(answer)).toBeUndefined();
  });

  it("belongs to a chapter that names its path", () => {
    const group = operationGroups.find(({ name }) => name === groupOf(operation));
    expect(group?.paths.some((path) => operation.path.startsWith(path))).toBe(true);
  });
});

describe("operationReferences", () => {
  it("says of a field what it may be and what it is by default", () => {
    const create = operationReferences().find(({ name }) => name === "createSession");
    expect(create?.body.find(({ name }) => name === "vm_lifetime_seconds")).toEqual({
      name: "vm_lifetime_seconds",
      type: "integer, 20 to 86400",
      isRequired: false,
      fallback: 300,
      description: "Counted from the creation; then the session ends.",
    });
    expect(create?.body.find(({ name }) => name === "vcpu_count")?.type).toBe("1 or 2 or 4 or 6 or 8");
    expect(create?.errors.map(({ code }) => code)).toEqual(expect.arrayContaining(["unauthorized", "limit_exceeded"]));
  });

  it("names the headers that an operation heeds", () => {
    const namesOf = (wanted: string) =>
      operationReferences()
        .find(({ name }) => name === wanted)
        ?.parameters.filter(({ type }) => type.startsWith("header, "))
        .map(({ name }) => name);
    expect(namesOf("createVm")).toEqual(["Idempotency-Key"]);
    expect(namesOf("readFile")).toEqual(["Range"]);
    expect(namesOf("listVms")).toEqual([]);
  });

  it("describes the elements of a list", () => {
    const list = operationReferences().find(({ name }) => name === "listVms");
    expect(list).toMatchObject({ isList: true, method: "GET", path: "/v1/vms" });
    expect(list?.answer.map(({ name }) => name)).toContain("vm_id");
  });
});

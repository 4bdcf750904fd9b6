import { describe, expect, it } from "vitest";
import { openApiDocument } from "./openapi.ts";
import { operations } from "./operations.ts";

describe("openApiDocument", () => {
  const text = JSON.stringify(openApiDocument("1.2.3"));

  it("names every operation once", () => {
    for (const name of Object.keys(operations)) {
      expect(text.split(`"operationId":"${name}"`)).toHaveLength(2);
    }
  });

  it("refers to nothing outside its components", () => {
    const references = [...text.matchAll(/"\$ref":"([^"]+)"/g)].map((match) => match[1]);
    expect(new Set(references)).toEqual(new Set(["#/components/schemas/Error"]));
  });

  it("lists the answer to a missing key for each operation that needs one", () => {
    const needKey = Object.values(operations).filter((operation) => operation.access !== "open");
    expect(text.split('"401":')).toHaveLength(needKey.length + 1);
  });
});

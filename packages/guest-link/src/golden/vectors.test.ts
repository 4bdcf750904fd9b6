import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { type DescMessage, fromBinary, fromJsonString, toBinary, toJson } from "@bufbuild/protobuf";
import { file_instavm_guest_v1_guest as guestFile } from "@instavm/protocol/guest";
import { describe, expect, it } from "vitest";
import { fromHex, hexOf } from "./bytes.ts";
import { goldenVectors, renderVectors } from "./vectors.ts";

const vectorsPath = fileURLToPath(new URL("../../../../protocol/vectors/guest-frames.json", import.meta.url));
const vectors = goldenVectors();

const schemaOf = (typeName: string): DescMessage => {
  const found = guestFile.messages.find((message) => message.typeName === typeName);
  if (found === undefined) throw new TypeError(`no message ${typeName} in guest.proto`);
  return found;
};

describe("the golden vectors", () => {
  it("are what protocol/vectors/guest-frames.json holds (INSTAVM_WRITE_VECTORS=1 rewrites it)", async () => {
    const rendered = renderVectors(vectors);
    if (process.env["INSTAVM_WRITE_VECTORS"] === "1") await writeFile(vectorsPath, rendered);
    expect(await readFile(vectorsPath, "utf8")).toBe(rendered);
  });

  it("name every row once", () => {
    for (const rows of Object.values(vectors)) {
      const names = rows.map((row) =>
        "reader" in row || "receiver" in row ? `${"reader" in row ? row.reader : row.receiver} ${row.name}` : row.name,
      );
      expect(new Set(names).size).toBe(names.length);
    }
  });

  it("show every message, every member of its oneofs and every value of its enums", () => {
    const shown = new Set(vectors.messages.map((vector) => vector.type));
    expect(guestFile.messages.map((message) => message.typeName).filter((name) => !shown.has(name))).toEqual([]);
    const text = JSON.stringify(vectors.messages.map((vector) => vector.json));
    const members = guestFile.messages.flatMap((message) => message.oneofs.flatMap((oneof) => oneof.fields));
    expect(members.map((field) => field.jsonName).filter((name) => !text.includes(`"${name}":`))).toEqual([]);
    const values = guestFile.enums.flatMap((of) => of.values.filter((value) => value.number !== 0));
    expect(values.map((value) => value.name).filter((name) => !text.includes(`"${name}"`))).toEqual([]);
  });

  it.each(vectors.messages.map((vector) => [vector.name, vector] as const))("decode and encode: %s", (_, vector) => {
    const schema = schemaOf(vector.type);
    const message = fromBinary(schema, fromHex(vector.hex));
    expect(toJson(schema, message)).toEqual(vector.json);
    expect(hexOf(toBinary(schema, fromJsonString(schema, JSON.stringify(vector.json))))).toBe(vector.hex);
  });

  it.each(vectors.invalidMessages.map((vector) => [vector.name, vector] as const))("are refused: %s", (_, vector) => {
    expect(() => fromBinary(schemaOf(vector.type), fromHex(vector.hex))).toThrow();
  });
});

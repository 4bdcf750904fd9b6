import { create, toBinary } from "@bufbuild/protobuf";
import { ResponseSchema } from "@instavm/protocol/launcher";
import { expect, test } from "vitest";
import { encodeRequest, frameLimitBytes, responseReader } from "./frames.ts";

function frame(id: bigint): Buffer {
  const body = toBinary(ResponseSchema, create(ResponseSchema, { id, response: { case: "done", value: {} } }));
  const header = Buffer.alloc(4);
  header.writeUInt32LE(body.length);
  return Buffer.concat([header, body]);
}

test("responses are found wherever the chunks are cut", () => {
  const stream = Buffer.concat([frame(1n), frame(2n), frame(300n)]);
  for (let size = 1; size <= stream.length; size += 1) {
    const reader = responseReader();
    const ids: bigint[] = [];
    for (let at = 0; at < stream.length; at += size) {
      ids.push(...reader.push(stream.subarray(at, at + size)).map((response) => response.id));
    }
    expect(ids).toEqual([1n, 2n, 300n]);
  }
});

test("a length over the limit is refused before its bytes arrive", () => {
  const header = Buffer.alloc(4);
  header.writeUInt32LE(frameLimitBytes + 1);
  expect(() => responseReader().push(header)).toThrow(/sent 1048577 bytes at once, at most 1048576/);
});

test("bytes that are no response are refused", () => {
  expect(() => responseReader().push(Buffer.from([3, 0, 0, 0, 0xff, 0xff, 0xff]))).toThrow(/no response/);
});

test("a request over the limit is not sent", () => {
  const args = ["x".repeat(frameLimitBytes)];
  expect(() => encodeRequest({ id: 1n, request: { case: "start", value: { args } } })).toThrow(
    /at most 1048576 can be sent/,
  );
});

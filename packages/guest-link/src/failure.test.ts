import { create, fromBinary } from "@bufbuild/protobuf";
import { FailureCode, FailureSchema } from "@instavm/protocol/guest";
import { describe, expect, it } from "vitest";
import { type CallTopic, readFailure } from "./failure.ts";

const errorOf = (code: FailureCode, topic: CallTopic, message = "seen") =>
  readFailure(create(FailureSchema, { code, message }), { subject: "call", topic });

describe("a failure of the guest", () => {
  it.each([
    [FailureCode.INVALID, "process", "invalid"],
    [FailureCode.NOT_FOUND, "file", "file_not_found"],
    [FailureCode.NOT_FOUND, "process", "file_not_found"],
    [FailureCode.NOT_FOUND, "context", "context_not_found"],
    [FailureCode.IS_DIRECTORY, "file", "invalid"],
    [FailureCode.PERMISSION, "file", "invalid"],
    [FailureCode.NO_SPACE, "file", "guest_failure"],
    [FailureCode.LIMIT, "file", "too_large"],
    [FailureCode.LIMIT, "process", "limit_exceeded"],
    [FailureCode.NO_ENTROPY, "vm", "guest_failure"],
    [FailureCode.CANCELLED, "process", "cancelled"],
    [FailureCode.INTERNAL, "code", "guest_failure"],
    [FailureCode.UNSUPPORTED, "vm", "not_implemented"],
  ] as const)("with code %s about a %s becomes %s", (code, topic, expected) => {
    expect(errorOf(code, topic)).toMatchObject({ code: expected, message: "call: seen" });
    expect(errorOf(code, topic).next).not.toBe("");
  });

  it("is a broken protocol when its code is none", () => {
    expect(() => errorOf(FailureCode.UNSPECIFIED, "vm")).toThrow(/broke the protocol/);
    const unknown = fromBinary(FailureSchema, Uint8Array.of(0x08, 99));
    expect(() => readFailure(unknown, { subject: "call", topic: "vm" })).toThrow(/code 99/);
  });

  it("has its message cut and cannot steer a terminal", () => {
    expect(errorOf(FailureCode.INVALID, "vm", "x".repeat(100_000)).message.length).toBeLessThan(5000);
    expect(errorOf(FailureCode.INVALID, "vm", "\u001b[2Jgone\r\u009b").message).toBe("call: �[2Jgone��");
    expect(errorOf(FailureCode.INVALID, "vm", "").message).toBe("call: the guest gave no reason");
  });
});

import { create } from "@bufbuild/protobuf";
import { ErrorCode, ErrorSchema } from "@instavm/protocol/launcher";
import { expect, test } from "vitest";
import { refusalError } from "./refusals.ts";

test("each code of the launcher has its code in the contract", () => {
  const codeOf = (code: ErrorCode): string =>
    refusalError(create(ErrorSchema, { code, message: "disk.raw: no" }), "start of VM v1").code;
  expect(codeOf(ErrorCode.NO_SPACE)).toBe("disk_full");
  expect(codeOf(ErrorCode.NOT_FOUND)).toBe("vm_not_found");
  expect(codeOf(ErrorCode.EXISTS)).toBe("conflict");
  expect(codeOf(ErrorCode.STILL_RUNNING)).toBe("conflict");
  expect(codeOf(ErrorCode.INVALID)).toBe("engine_failed");
  expect(codeOf(ErrorCode.OS)).toBe("engine_failed");
});

test("the message says what was asked for and what the launcher saw", () => {
  const refusal = create(ErrorSchema, { code: ErrorCode.NO_SPACE, message: "disk.raw: No space left on device" });
  expect(refusalError(refusal, "start of VM v1").message).toBe("start of VM v1: disk.raw: No space left on device");
});

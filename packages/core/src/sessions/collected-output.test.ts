import { expect, test } from "vitest";
import { CollectedOutput } from "./collected-output.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (data: Uint8Array): string => new TextDecoder().decode(data);

test("chunks are joined in order, stdout and stderr apart", () => {
  const output = new CollectedOutput(100);
  for (const data of ["a", "b", "c"]) output.take({ type: "stdout", data: bytes(data) });
  output.take({ type: "stderr", data: bytes("e") });
  output.take({ type: "started", pid: 1 });
  expect([text(output.stdout()), text(output.stderr()), output.isCut]).toEqual(["abc", "e", false]);
});

test("nothing printed is an empty output", () => {
  const output = new CollectedOutput(10);
  expect([output.stdout().byteLength, output.displays.length, output.isCut]).toEqual([0, 0, false]);
});

test("each stream is cut at the cap by itself, and says so", () => {
  const output = new CollectedOutput(4);
  output.take({ type: "stdout", data: bytes("1234") });
  expect(output.isCut).toBe(false);
  output.take({ type: "stderr", data: bytes("12") });
  output.take({ type: "stderr", data: bytes("3456") });
  output.take({ type: "stdout", data: bytes("5") });
  expect([text(output.stdout()), text(output.stderr()), output.isCut]).toEqual(["1234", "1234", true]);
});

test("displays are kept in order up to the cap of their bytes", () => {
  const output = new CollectedOutput(30);
  const display = (content: string, isResult: boolean): void =>
    output.take({ type: "display", isResult, data: new Map([["text/plain", bytes(content)]]) });
  display("first", false);
  display("second", true);
  expect(output.isCut).toBe(true);
  expect(output.displays.map(({ isResult }) => isResult)).toEqual([false]);
});

test("a guest cannot fill the memory with empty displays", () => {
  const output = new CollectedOutput(1000);
  for (let count = 0; count < 5000; count += 1) output.take({ type: "display", isResult: false, data: new Map() });
  expect([output.displays.length, output.isCut]).toEqual([1000, true]);
});

import { expect, test } from "vitest";
import type { CodeEnded } from "../ports/agent-link.ts";
import { withLossNotice } from "./loss-notice.ts";

const fine: CodeEnded = {
  exitCode: 0,
  timedOut: false,
  truncated: false,
  language: "python",
  error: undefined,
  cpuMs: 0,
  wallMs: 0,
  contextLost: false,
  outOfMemory: false,
};
const error = { name: "InterpreterLost", value: "the interpreter was ended by signal 9", traceback: "" };

function notice(stderr: string, ended: Partial<CodeEnded>): string {
  return Buffer.from(withLossNotice(Buffer.from(stderr), { ...fine, ...ended })).toString();
}

test("a lost interpreter is told behind what the program wrote", () => {
  const line = "InterpreterLost: the interpreter was ended by signal 9\n";
  expect(notice("", { contextLost: true, error })).toBe(line);
  expect(notice("whole\n", { contextLost: true, error })).toBe(`whole\n${line}`);
  expect(notice("half", { contextLost: true, error })).toBe(`half\n${line}`);
});

test("used up memory is told, with and without an interpreter that it cost", () => {
  const line = "OutOfMemory: the VM's memory was used up; its kernel ended a process\n";
  expect(notice("Killed\n", { outOfMemory: true, language: "bash" })).toBe(`Killed\n${line}`);
  expect(notice("", { outOfMemory: true, contextLost: true, error })).toMatch(
    /^InterpreterLost: .*\nOutOfMemory: .*\n$/,
  );
});

test("nothing is added to an end of the program's own making", () => {
  expect(notice("err", {})).toBe("err");
  expect(notice("bye\n", { contextLost: true })).toBe("bye\n");
  expect(notice("Traceback\n", { error })).toBe("Traceback\n");
});

test("a guest's endless reason is cut", () => {
  const endless = { ...error, value: "x".repeat(100_000) };
  expect(notice("", { contextLost: true, error: endless }).length).toBeLessThan(1_100);
});

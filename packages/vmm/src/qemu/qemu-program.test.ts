import { expect, test } from "vitest";
import { findQemu, parseVersion, readQemu } from "./qemu-program.ts";

test("the version lines of distributions are understood", () => {
  expect(parseVersion("/q", "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright …\n")).toEqual({
    path: "/q",
    version: "7.2.22",
    major: 7,
    build: "7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)",
  });
  expect(parseVersion("/q", "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)")).toMatchObject({
    version: "10.0.2",
    major: 10,
  });
  expect(parseVersion("/q", "QEMU emulator version 9.1\n")).toMatchObject({ version: "9.1", build: "9.1" });
  expect(parseVersion("/q", "hello")).toBeUndefined();
});

test("this host's QEMU is found on PATH and answers", async () => {
  const program = await readQemu(await findQemu());
  expect(program.path).toMatch(/^\/.*qemu-system-x86_64$/);
  expect(program.version).toMatch(/^\d+\.\d+/);
});

test("a missing QEMU is an error with the command that brings it", async () => {
  const missing = { code: "host_setup", next: expect.stringContaining("apt-get install") };
  await expect(findQemu(undefined, "/nowhere:relative")).rejects.toMatchObject(missing);
  await expect(findQemu("/etc/passwd")).rejects.toThrow("/etc/passwd is not an executable file");
});

test("a program that is no QEMU is refused with what it said", async () => {
  await expect(readQemu("/bin/echo")).rejects.toThrow('--version said "echo');
});

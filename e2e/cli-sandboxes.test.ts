import { createHash, randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { RealServer } from "./support/real-server.ts";
import { ShellUser } from "./support/shell-user.ts";

let server: RealServer;

beforeAll(async () => {
  server = await RealServer.start({ poolSize: 1 });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

function parsed(text: string): unknown {
  return JSON.parse(text);
}

test("a VM is created, listed, changed, used by its session and removed", async () => {
  using user = new ShellUser(server);
  const created = await user.types(
    "bin/instavm create --name 'build box' --memory 512 --metadata '{\"of\":\"test\"}' --json",
  );
  expect(created).toMatchObject({ exitCode: 0, stderr: "" });
  const vm = parsed(created.stdout);
  expect(vm).toMatchObject({ status: "active", name: "build box", memory_mb: 512, metadata: { of: "test" } });
  const { vm_id: vmId, session_id: sessionId } = Object(vm);
  expect((await user.types("bin/instavm ls")).stdout).toMatch(new RegExp(`\n${vmId} +build box +active +2 +512 MiB `));
  const updated = await user.types(`bin/instavm vm update ${vmId} --name renamed --timeout 900 --json`);
  expect(parsed(updated.stdout)).toMatchObject({ name: "renamed", vm_lifetime_seconds: 900 });
  const run = await user.types(`bin/instavm exec --session ${sessionId} -l bash -c 'echo inside; exit 5'`);
  expect(run).toMatchObject({ exitCode: 5, stdout: "inside\n", stderr: "" });
  expect(await user.types(`bin/instavm rm ${vmId}`)).toMatchObject({ exitCode: 0, stdout: `${vmId}\n` });
  const live = await user.types("bin/instavm ls --json");
  expect(parsed(live.stdout)).toEqual({ vms: [] });
  const all = await user.types("bin/instavm ls --all --json");
  expect(parsed(all.stdout)).toMatchObject({ vms: expect.arrayContaining([expect.objectContaining({ vm_id: vmId })]) });
  const unknown = await user.types("bin/instavm rm z0000000000000000000");
  expect(unknown).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("next: ") });
});

test("what cannot change while the VM runs is refused with a next step", async () => {
  using user = new ShellUser(server);
  const { vm_id: vmId } = Object(parsed((await user.types("bin/instavm create --json")).stdout));
  const call = await user.types(`bin/instavm vm update ${vmId} --memory-mb 1024`);
  expect(call).toMatchObject({ exitCode: 1, stdout: "" });
  expect(call.stderr).toMatch(/^error: .*\nnext: {2}.*\n$/);
  await user.types(`bin/instavm rm ${vmId}`);
});

test("exec shows output before the program has ended, the last value, and passes the exit code on", async () => {
  using user = new ShellUser(server);
  // The first line is read, and says when, while the program still sleeps.
  const early = await user.types(
    `bin/instavm exec -l bash -c 'echo begun; sleep 3; exit 6' 2>/dev/null | { read line; date +%s%N; cat; date +%s%N; }; echo "\${PIPESTATUS[0]}"`,
  );
  const [firstNs = "0", lastNs = "0", exitCode] = early.stdout.trim().split("\n");
  expect(Number(lastNs) - Number(firstNs)).toBeGreaterThan(1e9);
  expect(exitCode).toBe("6");
  expect(await user.types('bin/instavm exec -c "print(1); 6 * 7"')).toMatchObject({ exitCode: 0, stdout: "1\n42\n" });
  const failed = await user.types('bin/instavm exec -c "1 / 0"');
  expect(failed).toMatchObject({ exitCode: 1, stdout: "", stderr: expect.stringContaining("ZeroDivisionError") });
  await user.types("bin/instavm session close");
});

test("a reader that has seen enough ends the program in the VM", async () => {
  using user = new ShellUser(server);
  const line = `bin/instavm exec -l bash -c 'yes endless' 2>/dev/null | head -n 2; echo "code \${PIPESTATUS[0]}"`;
  expect((await user.types(line)).stdout).toBe("endless\nendless\ncode 0\n");
  const left = await user.types("bin/instavm exec -l bash -c 'sleep 0.5; pgrep -c -x yes'");
  expect(left.stdout).toBe("0\n");
  await user.types("bin/instavm session close");
});

test("code in the background is started, waited for, and its exit code passed on", async () => {
  using user = new ShellUser(server);
  const call = await user.types(
    `task=$(bin/instavm exec --async -l bash -c 'sleep 1; echo late; exit 9') && bin/instavm exec result "$task" --poll-interval 0.2`,
  );
  expect(call).toMatchObject({ exitCode: 9, stdout: "late\n" });
  await user.types("bin/instavm session close");
});

test("files go in and out byte by byte, under unusual names too", async () => {
  using user = new ShellUser(server);
  const content = randomBytes(5_000_000);
  writeFileSync(join(user.home, "-in ü.bin"), content);
  await user.types('bin/instavm execute --code "1"');
  const name = "'dir/new\nline -ü.bin'";
  expect(await user.types(`bin/instavm cp ~/'-in ü.bin' :${name}`)).toMatchObject({ exitCode: 0, stdout: "" });
  const digest = await user.types(`bin/instavm exec -l bash -c 'sha256sum < dir/new*'`);
  expect(digest.stdout).toContain(createHash("sha256").update(content).digest("hex"));
  expect(await user.types(`bin/instavm cp :${name} ~/out.bin`)).toMatchObject({ exitCode: 0, stdout: "" });
  expect(readFileSync(join(user.home, "out.bin")).equals(content)).toBe(true);
  const piped = await user.types("echo piped | bin/instavm cp - :p.txt && bin/instavm cp :p.txt -");
  expect(piped).toMatchObject({ exitCode: 0, stdout: "piped\n" });
  const missing = await user.types("bin/instavm cp :none.txt ~/");
  expect(missing).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/^error: .*none\.txt.*\nnext: /) });
  await user.types("bin/instavm session close");
});

test("a directory goes in and comes out with all that is in it", async () => {
  using user = new ShellUser(server);
  const made = await user.types(
    "mkdir -p ~/'a tree'/sub/empty && cd ~/'a tree' && echo text > sub/-ü && ln -s sub/-ü link && head -c 300000 /dev/urandom > big && chmod 750 big",
  );
  expect(made).toMatchObject({ exitCode: 0 });
  await user.types('bin/instavm execute --code "1"');
  const up = await user.types("bin/instavm cp -r ~/'a tree' :");
  expect(up).toMatchObject({ exitCode: 0, stdout: "" });
  expect(up.stderr).toContain("↳ a tree has 300005 bytes in 5 files and directories\n");
  const inside = await user.types('bin/instavm exec -l bash -c \'cat "a tree/link"; ln -s /etc "a tree/out"\'');
  expect(inside.stdout).toBe("text\n");
  const down = await user.types("bin/instavm cp -r ':a tree' ~/back --json");
  expect(parsed(down.stdout)).toMatchObject({ size: 300_005, entries: 5, skipped: 1 });
  const same = await user.types("diff -r --no-dereference ~/'a tree' ~/back && stat -c %a ~/back/big");
  expect(same).toMatchObject({ exitCode: 0, stdout: "750\n" });
  const plain = await user.types("bin/instavm cp ~/'a tree' :x");
  expect(plain).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("a directory needs -r") });
  await user.types("bin/instavm session close");
});

test("a program is left running, listed, followed to its end and killed", async () => {
  using user = new ShellUser(server);
  const started = await user.types(
    "bin/instavm exec -d --tag web -c 'for i in 1 2 3; do echo $i; sleep 0.3; done; exit 4'",
  );
  expect(started).toMatchObject({ exitCode: 0, stdout: expect.stringMatching(/^\d+\n$/) });
  const id = started.stdout.trim();
  expect(await user.types(`bin/instavm commands logs ${id} -f`)).toMatchObject({ exitCode: 4, stdout: "1\n2\n3\n" });
  const listed = await user.types("bin/instavm commands ls --tag web");
  expect(listed.stdout).toMatch(new RegExp(`\n${id} +exit 4 +\\S+ +web +for i in`));
  await user.types("printf 'import time\\nprint(6 * 7)\\ntime.sleep(1000)\\n' > ~/serve.py");
  const other = (await user.types("bin/instavm exec -d ~/serve.py")).stdout.trim();
  const seen = await user.types(
    `until bin/instavm commands logs ${other} 2>/dev/null | grep -q 42; do sleep 0.2; done; bin/instavm commands kill ${other}`,
  );
  expect(seen).toMatchObject({ exitCode: 0 });
  expect((await user.types(`bin/instavm commands logs ${other} -f`)).exitCode).toBe(143);
  const unknown = await user.types("bin/instavm commands logs 999");
  expect(unknown).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("next: ") });
  await user.types("bin/instavm session close");
});

test("JavaScript runs, and its value is shown", async () => {
  using user = new ShellUser(server);
  const call = await user.types("bin/instavm exec -l javascript -c '[6 * 7]'");
  expect(call).toMatchObject({ exitCode: 0, stdout: "[ 42 ]\n" });
  await user.types("bin/instavm session close");
});

test("the key's owner is known, a kept key is used, a wrong one refused", async () => {
  using user = new ShellUser(server);
  expect(parsed((await user.types("bin/instavm whoami --json")).stdout)).toMatchObject({ role: "admin" });
  const { key } = await server.client.apiKeys.create({ description: "somebody" });
  const kept = await user.types(
    `bin/instavm auth set-key ${key} && bin/instavm whoami && bin/instavm auth status --json`,
  );
  expect(kept.stdout).toContain("NAME  somebody\nROLE  user\n");
  expect(kept.stdout).toContain("config.json");
  expect(await user.types("bin/instavm auth set-key ivm_wrong")).toMatchObject({ exitCode: 1 });
  expect(await user.types("bin/instavm auth logout && bin/instavm whoami")).toMatchObject({
    exitCode: 0,
    stdout: expect.stringContaining("ROLE  admin\n"),
  });
});

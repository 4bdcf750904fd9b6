import { describe, expect, test } from "vitest";
import { StandInServer, jsonOf, send } from "./testing/stand-in-server.ts";
import { userOf } from "./testing/terminal-user.ts";

const vm = {
  id: "q7v2kd0w9x3m1zr8tj5c",
  vm_id: "q7v2kd0w9x3m1zr8tj5c",
  session_id: "00000000-0000-4000-8000-000000000001",
  name: "build",
  status: "active",
  created_at: "2026-01-02T03:04:05Z",
  expires_at: "2026-01-02T03:09:05Z",
  ended_at: null,
  end_reason: null,
  memory_mb: 2048,
  vcpu_count: 4,
  vm_lifetime_seconds: 300,
  metadata: { a: 1 },
  start: "pool",
  forked_from: null,
  ssh_host: null,
  snapshot_id: null,
  snapshot_name: null,
  snapshot_on_terminate: false,
  auto_suspend: false,
  auto_resume: false,
  image_variant: "standard",
  vault_ids: [],
};

/** Answers everything with one body. */
async function serverOf(body: unknown): Promise<StandInServer> {
  const server = await StandInServer.start();
  server.respond = (_, response) => {
    send(response, 200, body);
    return true;
  };
  return server;
}

function lastBody(server: StandInServer): Record<string, unknown> {
  const last = server.received.at(-1);
  return last === undefined ? {} : jsonOf(last);
}

describe("create", () => {
  test("sends what was said, shows the VM to people and the server's object to programs", async () => {
    await using server = await serverOf(vm);
    using user = userOf(server);
    const flags = [
      "--name",
      "build",
      "--vcpu",
      "4",
      "--memory",
      "2048",
      "--timeout",
      "600",
      "--env",
      "A=b=c",
      "--env",
      "D=",
    ];
    const call = await user.types(["create", ...flags, "--metadata", '{"a":1}']);
    expect(call).toMatchObject({ exitCode: 0, stderr: "" });
    expect(call.stdout).toMatch(/^VM {7}q7v2kd0w9x3m1zr8tj5c\nSESSION {2}0{8}-.*\nNAME {5}build\nSTATUS {3}active\n/);
    expect(lastBody(server)).toEqual({
      name: "build",
      vcpu_count: 4,
      memory_mb: 2048,
      vm_lifetime_seconds: 600,
      env: { A: "b=c", D: "" },
      metadata: { a: 1 },
    });
    const json = await user.types(["new", "--json"]);
    expect(JSON.parse(json.stdout)).toEqual(vm);
    expect(lastBody(server)).toEqual({});
  });

  test.each([
    [["--memory", "12"], "from 128 to 8192"],
    [["--timeout", "soon"], "from 20 to 604800"],
    [["--env", "novalue"], "NAME=VALUE"],
    [["--metadata", "[1]"], "a JSON object"],
    [["--type", "windows"], "standard"],
    [["--volume", "v:/data"], "unknown option"],
  ])("refuses %j", async (flags, message) => {
    await using server = await serverOf(vm);
    using user = userOf(server);
    const call = await user.types(["create", ...flags]);
    expect(call.exitCode).toBe(2);
    expect(call.stderr).toContain(message);
    expect(server.received).toEqual([]);
  });
});

describe("ls", () => {
  test("shows the live ones, and with --all the ended ones", async () => {
    await using server = await serverOf([vm]);
    using user = userOf(server);
    const call = await user.types(["ls"]);
    expect(call.stdout).toMatch(/^VM +NAME +STATUS +VCPU +MEMORY +CREATED +ENDS\nq7v2\w+ +build +active +4 +2048 MiB /);
    expect(server.received.at(-1)?.path).toBe("/v1/vms");
    const all = await user.types(["list", "-a", "--json"]);
    expect(server.received.at(-1)?.path).toBe("/v1/vms/");
    expect(JSON.parse(all.stdout)).toEqual({ vms: [vm] });
  });

  test("lets no name reach the terminal as an order", async () => {
    await using server = await serverOf([{ ...vm, name: "evil\u001b[2Jname\n" }]);
    using user = userOf(server);
    expect((await user.types(["ls"])).stdout).toContain("evil\u{fffd}[2Jname\u{fffd}");
  });

  test("says what to do when there is none", async () => {
    await using server = await serverOf([]);
    using user = userOf(server);
    expect(await user.types(["ls"])).toMatchObject({
      exitCode: 0,
      stdout: "",
      stderr: expect.stringContaining("instavm create"),
    });
    expect(JSON.parse((await user.types(["ls", "--json"])).stdout)).toEqual({ vms: [] });
  });

  test("with --watch shows each change once, until it is interrupted", async () => {
    await using server = await StandInServer.start();
    using user = userOf(server);
    server.respond = (_, response) => {
      const asked = server.received.length;
      // The interrupt waits for this line, which comes when the third list cannot be read.
      if (asked > 2) send(response, 401, { detail: "Enough.", code: "unauthorized", next: "-", request_id: "r" });
      else send(response, 200, asked === 1 ? [vm] : []);
      return true;
    };
    const call = await user.types(["ls", "--watch", "--json"]);
    expect(call.exitCode).toBe(1);
    expect(
      call.stdout
        .trim()
        .split("\n")
        .map((line): unknown => JSON.parse(line)),
    ).toEqual([{ vms: [vm] }, { vms: [] }]);
  });
});

describe("rm", () => {
  test("ends all that it can and fails for the rest", async () => {
    await using server = await StandInServer.start();
    using user = userOf(server);
    const deleted = { message: "Ended.", id: vm.id, vm_id: vm.id, session_id: vm.session_id, status: "terminated" };
    server.respond = ({ path }, response) => {
      const error = { detail: "There is no such VM.", code: "vm_not_found", next: "List them.", request_id: "r" };
      if (path.endsWith(vm.id)) send(response, 200, deleted);
      else send(response, 404, error);
      return true;
    };
    const call = await user.types(["rm", "z0000000000000000000", vm.id]);
    expect(call).toMatchObject({ exitCode: 1, stdout: `${vm.id}\n` });
    expect(call.stderr).toBe("error: z0000000000000000000: There is no such VM.\nnext:  List them.\n");
    const json = await user.types(["delete", "z0000000000000000000", vm.id, "--json"]);
    expect(json).toMatchObject({ exitCode: 1, stderr: "" });
    expect(JSON.parse(json.stdout)).toMatchObject({ results: [{ code: "vm_not_found" }, { status: "terminated" }] });
  });

  test("needs a VM", async () => {
    await using server = await serverOf({});
    using user = userOf(server);
    expect(await user.types(["rm"])).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining("missing required argument"),
    });
  });
});

describe("fork and clone", () => {
  test("fork sends what was said, and shows each copy with its session", async () => {
    const copies = [1, 2].map((number) => ({
      ...vm,
      vm_id: `q7v2kd0w9x3m1zr8tj5${String(number)}`,
      forked_from: vm.id,
    }));
    await using server = await serverOf({ vms: copies });
    using user = userOf(server);
    const flags = ["--count", "2", "--name", "copy", "--timeout", "60", "--env", "A=b", "--metadata", '{"n":1}'];
    const call = await user.types(["fork", vm.id, ...flags]);
    expect(call).toMatchObject({ exitCode: 0, stderr: "" });
    expect(call.stdout).toMatch(/^VM +SESSION +NAME +STATUS +ENDS\nq7v2\w+1 +0{8}-.* build +active .*\nq7v2\w+2 /);
    expect(server.received[0]).toMatchObject({ method: "POST", path: `/v1/vms/${vm.id}/fork` });
    expect(lastBody(server)).toEqual({
      count: 2,
      name: "copy",
      vm_lifetime_seconds: 60,
      env: { A: "b" },
      metadata: { n: 1 },
    });
    const json = await user.types(["fork", vm.id, "--json"]);
    expect(JSON.parse(json.stdout)).toEqual({ vms: copies });
    expect(lastBody(server)).toEqual({});
  });

  test("clone shows the copy", async () => {
    await using server = await serverOf({ ...vm, forked_from: vm.id });
    using user = userOf(server);
    const call = await user.types(["clone", vm.id, "--name", "spare"]);
    expect(call).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("NAME     build\n") });
    expect(server.received[0]).toMatchObject({ method: "POST", path: `/v1/vms/${vm.id}/clone` });
    expect(lastBody(server)).toEqual({ name: "spare" });
    const json = await user.types(["clone", vm.id, "--json"]);
    expect(JSON.parse(json.stdout)).toMatchObject({ forked_from: vm.id, snapshot_id: null });
  });

  test("fork refuses a count that is none", async () => {
    await using server = await serverOf({});
    using user = userOf(server);
    for (const count of ["0", "101", "many"]) {
      const call = await user.types(["fork", vm.id, "--count", count]);
      expect(call).toMatchObject({ exitCode: 2, stderr: expect.stringContaining("from 1 to 100") });
    }
    expect(server.received).toEqual([]);
  });

  test("say why a VM cannot be forked", async () => {
    const error = { detail: "VM x: it runs under KVM.", code: "not_forkable", next: "Create VMs.", request_id: "r" };
    await using server = await StandInServer.start();
    using user = userOf(server);
    server.respond = (_, response) => {
      send(response, 409, error);
      return true;
    };
    expect(await user.types(["fork", vm.id])).toMatchObject({
      exitCode: 1,
      stderr: expect.stringContaining("it runs under KVM"),
    });
  });
});

describe("vm update", () => {
  test("changes what is given", async () => {
    await using server = await serverOf(vm);
    using user = userOf(server);
    const call = await user.types(["vms", "update", vm.id, "--name", "build", "--timeout", "7200"]);
    expect(call).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("NAME     build\n") });
    expect(server.received[0]).toMatchObject({ method: "PATCH", path: `/v1/vms/${vm.id}` });
    expect(lastBody(server)).toEqual({ name: "build", vm_lifetime_seconds: 7200 });
  });

  test("needs something to change", async () => {
    await using server = await serverOf(vm);
    using user = userOf(server);
    const call = await user.types(["vm", "update", vm.id]);
    expect(call).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("next:  Pass --name") });
    expect(server.received).toEqual([]);
  });
});

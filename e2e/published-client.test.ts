import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PublishedClient } from "./support/published-client.ts";
import { RealServer } from "./support/real-server.ts";

let server: RealServer;
let client: PublishedClient;

beforeAll(async () => {
  server = await RealServer.start();
  client = await PublishedClient.install(server);
});
afterAll(async () => {
  client[Symbol.dispose]();
  await server[Symbol.asyncDispose]();
});

const uuid = expect.stringMatching(/^[0-9a-f-]{36}$/);
const vmId = expect.stringMatching(/^[a-z][a-z0-9]{19}$/);
const time = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);

describe("sessions of the published client", () => {
  test("start, tell what they are, and are ended by kill", async () => {
    const seen = await client.python(`
c = InstaVM(key, base_url=url, cpu_count=1, memory_mb=256, env={"GREETING": "grüß dich"}, metadata={"team": "blue"}, timeout=600)
info, status, active = c.get_session_info(), c.get_session_status(), c.is_session_active()
listed = c.list_sandboxes(metadata={"team": "blue"}, limit=5)
others = c.list_sandboxes(metadata={"team": "red"})
greeting = c.execute("import os; print(os.environ['GREETING'])")["stdout"]
sid = c.session_id
killed = c.kill()
after = c.get_session_status(sid)
c.session_id = sid
show([sid, info, status, active, listed, others, greeting, killed, after, c.is_session_active()])`);
    expect(seen).toEqual([
      uuid,
      expect.objectContaining({
        session_id: uuid,
        vm_id: vmId,
        status: "active",
        memory_mb: 256,
        vcpu_count: 1,
        vm_lifetime_seconds: 600,
        metadata: { team: "blue" },
        created_at: time,
        expires_at: time,
      }),
      expect.objectContaining({ exists: true, vm_assigned: true, vm_alive: true, vm_id: vmId, vm_status: "active" }),
      true,
      [expect.objectContaining({ sandbox_id: vmId, session_id: uuid, metadata: { team: "blue" }, status: "active" })],
      [],
      "grüß dich\n",
      expect.objectContaining({ message: expect.any(String), vm_id: vmId, status: "killed" }),
      expect.objectContaining({ exists: true, vm_alive: false, vm_status: "killed" }),
      false,
    ]);
  });

  test("count what they use", async () => {
    const [before, after] = await figures(`
c = InstaVM(key, base_url=url)
before = c.get_usage()
c.execute("sum(range(3_000_000))")
after = c.get_usage()
c.kill()
show([before, after])`);
    expect(before).toMatchObject({ executions: 0, egress_bytes: 0 });
    expect(after).toMatchObject({ executions: 1, egress_bytes: 0 });
    for (const figure of ["cpu_seconds", "wall_seconds", "memory_gib_seconds"]) {
      expect(after?.[figure]).toBeGreaterThan(before?.[figure] ?? Infinity);
    }
  });

  test("outlive the client that closes them, and are found by their id", async () => {
    const seen = await client.python(`
with InstaVM(key, base_url=url) as first:
    first.execute("x = 41")
    sid = first.session_id
second = InstaVM(key, base_url=url + "/", auto_start_session=False)
second.session_id = sid
show([first.session_id, second.execute("x + 1")["output"], second.close_session(), second.kill(sid)["status"]])`);
    expect(seen).toEqual([null, "42\n", true, "killed"]);
  });

  test("are refused with the exceptions that its users catch", async () => {
    const seen = await client.python(`
c = InstaVM(key, base_url=url, auto_start_session=False)
nobody = "00000000-0000-4000-8000-000000000000"
show([
  error_of(lambda: InstaVM("wrong", base_url=url)),
  error_of(lambda: InstaVM(key, base_url=url, timeout=100_000)),
  error_of(lambda: InstaVM(key, base_url=url, memory_mb=1)),
  error_of(lambda: c.get_session_info(nobody)),
  error_of(lambda: c.kill(nobody)),
  c.get_session_status(nobody)["exists"],
])`);
    expect(seen).toEqual([
      ["AuthenticationError", expect.any(String)],
      ["ForbiddenError", expect.stringMatching(/VM lifetime cannot exceed 86400s/)],
      ["SessionError", expect.stringContaining("422")],
      ["SessionError", expect.stringContaining("404")],
      ["SessionError", expect.stringContaining("404")],
      false,
    ]);
  });
});

describe("code that the published client runs", () => {
  test("keeps its state, in Python and Bash, and says how it ended", async () => {
    const seen = await client.python(`
c = InstaVM(key, base_url=url)
results = [
  c.execute("x = 6 * 7"),
  c.execute("print(x)"),
  c.execute("echo out; echo err >&2; exit 3", language="bash"),
  c.execute("1 / 0", language="python"),
  c.execute("!echo $((6 * 7))", language="python"),
  c.execute("ls /"),
  c.execute("import time\\nprint('before', flush=True)\\ntime.sleep(60)", timeout=3),
]
streamed = list(c.execute_streaming("print('one piece')"))
long = c.execute("# " + "x" * 300_000 + "\\nprint('long')")["stdout"]
big = c.execute("print('y' * 5_000_000)")["stdout"]
c.kill()
show([results, streamed, long, [len(big), set(big) == {"y", "\\n"}]])`);
    expect(seen).toEqual([
      [
        expect.objectContaining({ stdout: "", exit_code: 0, success: true, session_id: uuid, vm_id: vmId }),
        expect.objectContaining({ stdout: "42\n", output: "42\n", stderr: "", exit_code: 0, language: "python" }),
        expect.objectContaining({ stdout: "out\n", stderr: "err\n", exit_code: 3, success: false, language: "bash" }),
        expect.objectContaining({ exit_code: 1, stderr: expect.stringContaining("ZeroDivisionError") }),
        expect.objectContaining({ stdout: "42\n", exit_code: 0 }),
        expect.objectContaining({ stdout: expect.stringContaining("etc\n"), exit_code: 0, language: "bash" }),
        expect.objectContaining({ stdout: "before\n", exit_code: 124, timed_out: true }),
      ],
      ["one piece\n"],
      "long\n",
      [5_000_001, true],
    ]);
  });

  test("runs in the background, and its result is fetched by its id", async () => {
    const seen = await client.python(`
c = InstaVM(key, base_url=url)
task = c.execute_async("import sys; print('out'); print('err', file=sys.stderr)", language="python", timeout=60)
result = c.get_task_result(task["task_id"], poll_interval=1, timeout=60)
lost = error_of(lambda: c.get_task_result("no-such-task", timeout=2))
c.kill()
show([task, result, lost])`);
    expect(seen).toEqual([
      expect.objectContaining({ task_id: expect.any(String) }),
      {
        stdout: "out\n",
        stderr: "err\n",
        created_at: time,
        cpu_time: expect.any(Number),
        execution_time: expect.any(Number),
      },
      ["TimeoutError", expect.any(String)],
    ]);
  });
});

test("files go up and come down as they are", async () => {
  const seen = await client.python(`
c = InstaVM(key, base_url=url)
bytes_ = bytes(range(256)) * 400
for name, content in [("data.bin", bytes_), ("empty", b"")]:
    with open(name, "wb") as file: file.write(content)
up = c.upload_file("data.bin", "deep/down/höhe & breite.bin")
c.upload_file("empty", "/tmp/empty")
size = c.execute("import os; print(os.path.getsize('deep/down/höhe & breite.bin'))")["stdout"]
down = c.download_file("deep/down/höhe & breite.bin", local_path="back.bin")
inline = c.download_file("deep/down/höhe & breite.bin")["content"] == bytes_
empty = c.download_file("/tmp/empty")
missing = error_of(lambda: c.download_file("nothing-here"))
c.kill()
show([up, size, down, open("back.bin", "rb").read() == bytes_, inline, empty["content"].strip() == b"", missing])`);
  expect(seen).toEqual([
    expect.objectContaining({ status: "success", size: 102_400 }),
    "102400\n",
    expect.objectContaining({ status: "success", size: 102_400, local_path: "back.bin" }),
    true,
    true,
    true,
    ["InstaVMError", expect.stringContaining("404")],
  ]);
});

describe("VMs of the published client", () => {
  test("are created, listed, read, changed and deleted", async () => {
    const seen = await client.python(`
c = InstaVM(key, base_url=url, auto_start_session=False)
vm = c.vms.create(name="worker", metadata={"job": 7}, vm_lifetime_seconds=604800, memory_mb=256, vcpu_count=1, env={"A": "1"})
c.session_id = vm["session_id"]
ran = c.execute("echo $A", language="bash")
same = c.vms.create(session_id=vm["session_id"])["vm_id"] == vm["vm_id"]
live = [one["vm_id"] for one in c.vms.list()]
read = c.vms.get(vm["vm_id"])
changed = c.vms.update(vm["vm_id"], name="renamed", auto_suspend=False)
deleted = c.vms.delete(vm["vm_id"])
again = c.vms.delete(vm["vm_id"])
show([
  vm, [ran["stdout"], ran["vm_id"] == vm["vm_id"]], same, live == [vm["vm_id"]], read == vm, changed["name"],
  deleted, again["status"], c.vms.list(),
  [[one["vm_id"] == vm["vm_id"], one["status"]] for one in c.vms.list_all_records()][0],
])`);
    expect(seen).toEqual([
      expect.objectContaining({
        vm_id: vmId,
        session_id: uuid,
        status: "active",
        created_at: time,
        expires_at: time,
        ssh_host: null,
        snapshot_id: null,
        name: "worker",
        metadata: { job: 7 },
        memory_mb: 256,
        vcpu_count: 1,
      }),
      ["1\n", true],
      true,
      true,
      true,
      "renamed",
      expect.objectContaining({ status: "terminated" }),
      "terminated",
      [],
      [true, "terminated"],
    ]);
  });

  test("refuse what they cannot do, and leave nothing behind", async () => {
    const seen = await client.python(`
c = InstaVM(key, base_url=url, auto_start_session=False)
show([
  error_of(lambda: c.vms.create(auto_suspend=True)),
  error_of(lambda: c.vms.create(snapshot_id="s")),
  error_of(lambda: c.vms.create(vm_lifetime_seconds=604801)),
  error_of(lambda: c.vms.create(vcpu_count=3)),
  error_of(lambda: c.vms.get("zzzzzzzzzzzzzzzzzzzz")),
  c.vms.list(),
])`);
    expect(seen).toEqual([
      ["NetworkError", expect.stringContaining("not_implemented")],
      ["NetworkError", expect.stringContaining("not_implemented")],
      ["ForbiddenError", expect.stringMatching(/VM lifetime cannot exceed 604800s/)],
      ["HTTPError", expect.stringContaining("422")],
      ["HTTPError", expect.stringContaining("404")],
      [],
    ]);
  });
});

test("keys are made, listed, described and revoked; each sees only what is its own", async () => {
  const seen = await client.python(`
admin = InstaVM(key, base_url=url)
made = admin.api_keys.create(description="CI")
user = InstaVM(made["key"], base_url=url)
me = user.get_current_user()
listed = [one["id"] for one in admin.api_keys.list()]
read = admin.api_keys.get(made["id"])
described = admin.api_keys.update(made["id"], description="nightly")["description"]
foreign = [
  error_of(lambda: user.get_session_info(admin.session_id))[0],
  error_of(lambda: user.kill(admin.session_id))[0],
  user.get_session_status(admin.session_id)["exists"],
  len(user.list_sandboxes()), len(user.vms.list_all_records()), len(admin.vms.list()),
  error_of(lambda: user.api_keys.create(description="more"))[0],
  error_of(lambda: user.api_keys.get(1))[0],
]
user.kill()
deleted = admin.api_keys.delete(made["id"])
revoked = error_of(user.get_current_user)
left = [one["id"] for one in admin.api_keys.list()]
admin.kill()
show([made, me, listed == left + [made["id"]], read, described, foreign, deleted, revoked])`);
  const record = { id: expect.any(Number), description: "CI", created_at: time };
  expect(seen).toEqual([
    expect.objectContaining({ ...record, key: expect.any(String) }),
    expect.objectContaining({ id: expect.any(Number), name: "CI", is_verified: true }),
    true,
    expect.objectContaining({ ...record, last_used_at: time }),
    "nightly",
    ["SessionError", "ForbiddenError", false, 1, 1, 1, "ForbiddenError", "HTTPError"],
    expect.objectContaining({ status: "revoked" }),
    ["AuthenticationError", expect.any(String)],
  ]);
  expect(JSON.stringify(seen).split("ivm_")).toHaveLength(2);
});

test("a clone is a VM of its own with the memory of the one that runs", async () => {
  const seen = await client.python(`
c = InstaVM(key, base_url=url)
c.execute("x = 41")
vm = c.vms.list()[0]["vm_id"]
clone = c.vms.clone(vm)
c.execute("x = 0")
source, c.session_id = c.session_id, clone["session_id"]
inside = c.execute("print(x + 1)")["stdout"]
deleted = c.vms.delete(clone["vm_id"])["status"]
c.kill(source)
show([clone, clone["vm_id"] != vm, clone["session_id"] != source, inside, deleted])`);
  expect(seen).toEqual([
    expect.objectContaining({ vm_id: vmId, session_id: uuid, status: "active", snapshot_id: null }),
    true,
    true,
    "42\n",
    "terminated",
  ]);
});

test("calls of later releases raise an error that says so", async () => {
  const seen = await client.python(`
c = InstaVM(key, base_url=url)
vm = c.vms.list()[0]["vm_id"]
calls = [
  lambda: c.get_session_app_url(port=8000), lambda: c.vms.suspend(vm), lambda: c.vms.resume(vm),
  lambda: c.vms.clone(vm, snapshot_name="before"),
  lambda: c.vms.snapshot(vm), lambda: c.vms.stage_env(vm, {"A": "1"}), lambda: c.vms.list_volumes(vm),
  lambda: c.snapshots.list(), lambda: c.templates.list(), lambda: c.set_session_egress(), lambda: c.get_vm_egress(vm),
  lambda: c.shares.create(80), lambda: c.custom_domains.list(), lambda: c.pty.create(c.session_id),
  lambda: c.add_ssh_key("ssh-ed25519 AAAA me"), lambda: c.volumes.list(), lambda: c.list_vaults(), lambda: c.computer_use.viewer_url(c.session_id),
  lambda: c.recordings.list(), lambda: c.tapes.list(), lambda: c.webhooks.list_endpoints(), lambda: c.audit.events(),
  lambda: c.get_usage_breakdown(), lambda: c.credits.summary(),
]
errors = [error_of(call) for call in calls]
keys = c.list_ssh_keys()
c.kill()
show([keys, errors])`);
  const expected: unknown = ["NetworkError", expect.stringContaining('"code":"not_implemented"')];
  expect(seen).toEqual([[], Array.from({ length: 24 }, () => expected)]);
});

test("its command line creates a VM, runs code in it, lists and removes it", async () => {
  const json = async (...args: readonly string[]): Promise<Record<string, unknown>> => {
    const end = await client.cli(...args, "--json");
    expect(end, `${args.join(" ")}\n${end.stdout}${end.stderr}`).toMatchObject({ exitCode: 0 });
    const parsed: unknown = JSON.parse(end.stdout);
    return parsed !== null && typeof parsed === "object" ? { ...parsed } : {};
  };
  const created = await json("create", "--memory", "256", "--vcpu", "1", "--timeout", "900");
  expect(created).toMatchObject({ vm_id: vmId, session_id: uuid, status: "active" });
  const [id, session] = [String(created["vm_id"]), String(created["session_id"])];
  expect(await json("exec", "--cmd", "print(6 * 7)", "--session", session)).toMatchObject({
    stdout: "42\n",
    exit_code: 0,
    session_id: session,
  });
  expect(await json("ls")).toMatchObject({ vms: [{ vm_id: id, status: "active" }] });
  expect(await json("vm", "update", id, "--memory-mb", "256")).toMatchObject({ vm_id: id, memory_mb: 256 });
  expect(await json("rm", id)).toMatchObject({ results: [{ vm_id: id, status: "terminated" }] });
  expect(await json("ls")).toEqual({ vms: [] });
  const all = await client.cli("ls", "--all");
  expect(all.stdout).toContain(id);
  expect(await client.cli("whoami")).toMatchObject({ exitCode: 0 });
});

/** The objects of numbers that a program shows. */
async function figures(code: string): Promise<readonly Readonly<Record<string, number>>[]> {
  const shown = await client.python(code);
  if (!Array.isArray(shown)) throw new Error(`expected a list, got ${JSON.stringify(shown)}`);
  return shown.map((one: unknown) => {
    const entries = Object.entries(one !== null && typeof one === "object" ? one : {});
    return Object.fromEntries(entries.flatMap(([name, value]) => (typeof value === "number" ? [[name, value]] : [])));
  });
}

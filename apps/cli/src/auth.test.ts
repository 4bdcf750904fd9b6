import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { StandInServer, send } from "./testing/stand-in-server.ts";
import { TerminalUser } from "./testing/terminal-user.ts";

const key = "ivm_aVeryLongKeyOfSomebody";
const user1 = { id: 7, name: "laptop", email: null, is_verified: true, role: "user" };

/** Accepts one key. */
async function serverOf(accepted: string): Promise<StandInServer> {
  const server = await StandInServer.start();
  const refusal = {
    detail: "The API key is not known.",
    code: "unauthorized",
    next: "Send a valid key.",
    request_id: "r",
  };
  server.respond = (_, response) => {
    const given = [...server.keys].at(-1);
    if (given === accepted) send(response, 200, user1);
    else send(response, 401, refusal);
    return true;
  };
  return server;
}

function configOf(user: TerminalUser): unknown {
  return JSON.parse(readFileSync(join(user.home, ".instavm/config.json"), "utf8"));
}

test("a key is kept for its owner only, used from then on, and taken away", async () => {
  await using server = await serverOf(key);
  using user = new TerminalUser({ INSTAVM_STATE_DIR: "/nonexistent" });
  const set = await user.types(["auth", "set-key", "--base-url", `${server.baseUrl}/`], { stdin: `${key}\n` });
  expect(set).toMatchObject({ exitCode: 0, stdout: "", stderr: expect.stringContaining("the key of laptop is in") });
  expect(configOf(user)).toEqual({
    schema_version: 1,
    active_profile: "default",
    profiles: { default: { auth: { type: "api_key", api_key: key }, base_url: server.baseUrl } },
  });
  expect(statSync(join(user.home, ".instavm/config.json")).mode & 0o777).toBe(0o600);

  expect(await user.types(["whoami"])).toMatchObject({ exitCode: 0, stdout: "NAME  laptop\nROLE  user\nID    7\n" });
  expect(JSON.parse((await user.types(["whoami", "--json"])).stdout)).toEqual(user1);
  const status = await user.types(["auth", "status"]);
  expect(status.stdout).toMatch(
    /^SERVER {2}http:.*\nKEY {5}ivm_….{4}\nFROM {4}profile default of .*\nUSER {4}laptop \(user\)\n$/,
  );
  expect(status.stdout).not.toContain(key);

  expect(await user.types(["auth", "logout"])).toMatchObject({ exitCode: 0 });
  expect(configOf(user)).toMatchObject({ profiles: { default: { base_url: server.baseUrl } } });
  const after = await user.types(["whoami"]);
  expect(after).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("next:  Type `instavm auth set-key`") });
  expect(await user.types(["auth", "logout"])).toMatchObject({
    exitCode: 0,
    stderr: expect.stringContaining("no key is in"),
  });
});

test("a key that the server refuses is not kept", async () => {
  await using server = await serverOf(key);
  using user = new TerminalUser({ INSTAVM_BASE_URL: server.baseUrl });
  const call = await user.types(["auth", "set-key", "wrong"]);
  expect(call).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("The API key is not known.") });
  expect(() => configOf(user)).toThrow("ENOENT");
});

test("what other programs wrote into the config file stays", async () => {
  await using server = await serverOf(key);
  using user = new TerminalUser({ INSTAVM_BASE_URL: server.baseUrl });
  const other = { auth: { type: "api_key", api_key: "other" }, base_url: "http://other" };
  const before = {
    schema_version: 1,
    active_profile: "work",
    extra: [1],
    profiles: { other, work: { ssh_host: "ssh.example" } },
  };
  mkdirSync(join(user.home, ".instavm"));
  writeFileSync(join(user.home, ".instavm/config.json"), JSON.stringify(before));
  await user.types(["auth", "set-key", key]);
  expect(configOf(user)).toEqual({
    ...before,
    profiles: { other, work: { ssh_host: "ssh.example", auth: { type: "api_key", api_key: key } } },
  });
});

test("a config file that is damaged is left alone", async () => {
  await using server = await serverOf(key);
  using user = new TerminalUser({ INSTAVM_BASE_URL: server.baseUrl });
  mkdirSync(join(user.home, ".instavm"));
  writeFileSync(join(user.home, ".instavm/config.json"), "{ half");
  const call = await user.types(["auth", "set-key", key]);
  expect(call).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("holds no JSON object") });
  expect(readFileSync(join(user.home, ".instavm/config.json"), "utf8")).toBe("{ half");
});

test("login says that it is not needed", async () => {
  using user = new TerminalUser();
  expect(await user.types(["login"])).toMatchObject({
    exitCode: 0,
    stderr: expect.stringContaining("no login is needed"),
  });
  const elsewhere = await user.types(["login", "--base-url", "http://sandboxes.example"]);
  expect(elsewhere).toMatchObject({ exitCode: 0, stderr: expect.stringContaining("get a key from whoever runs") });
});

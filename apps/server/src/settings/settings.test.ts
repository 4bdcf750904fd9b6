import { describe, expect, it } from "vitest";
import { parseCommandLine, usage } from "./command-line.ts";
import { readSettings, settingTable } from "./settings.ts";

describe("settings", () => {
  it("have a default for everything", () => {
    expect(readSettings({}, {})).toEqual({
      listen: { host: "127.0.0.1", port: 8222 },
      stateDir: "/var/lib/instavm",
      cacheDir: "/var/cache/instavm",
      poolSize: 4,
      zygoteMemoryMib: 2048,
    });
  });

  it("come from the environment, and flags win", () => {
    const env = { INSTAVM_LISTEN: "[::1]:1", INSTAVM_STATE_DIR: "/a", INSTAVM_POOL_SIZE: "0", INSTAVM_CACHE_DIR: "" };
    expect(readSettings({ "state-dir": "/b" }, env)).toMatchObject({
      listen: { host: "::1", port: 1 },
      stateDir: "/b",
      cacheDir: "/var/cache/instavm",
      poolSize: 0,
    });
  });

  it.each([
    [{ listen: "8222" }, {}, '--listen is "8222"'],
    [{ listen: "localhost:70000" }, {}, "--listen"],
    [{ "state-dir": "relative" }, {}, "absolute path"],
    [{ "pool-size": "-1" }, {}, "--pool-size"],
    [{}, { INSTAVM_POOL_SIZE: "many" }, 'INSTAVM_POOL_SIZE is "many"'],
    [{}, { INSTAVM_ZYGOTE_MEMORY_MIB: "2g" }, 'INSTAVM_ZYGOTE_MEMORY_MIB is "2g"'],
    [{ "log-format": "xml" }, {}, "--log-format"],
  ])("refuse %j %j and name the place", (flags, env, sentence) => {
    expect(() => readSettings(flags, env)).toThrow(sentence);
  });
});

describe("the command line", () => {
  it("is a command and flags in any order", () => {
    expect(parseCommandLine(["--listen", "a:1", "serve", "--pool-size=2"])).toEqual({
      command: "serve",
      flags: { listen: "a:1", "pool-size": "2" },
    });
  });

  it.each([[[]], [["--help"]], [["serve", "-h"]], [["help"]]])("shows its usage for %j", (args) => {
    expect(parseCommandLine(args).command).toBe("help");
  });

  it.each([[["fly"]], [["serve", "now"]], [["serve", "--nonsense"]], [["serve", "--listen"]]])("refuses %j", (args) => {
    expect(() => parseCommandLine(args)).toThrow(expect.objectContaining({ code: "invalid" }));
  });

  it("shows every setting's flag and variable in its usage", () => {
    for (const { flag, variable } of Object.values(settingTable)) {
      expect(usage()).toContain(`--${flag} `);
      expect(usage()).toContain(variable);
    }
  });
});

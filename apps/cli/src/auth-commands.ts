import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { text } from "node:stream/consumers";
import { InstaVm, InstaVmError } from "instavm";
import { ConfigFile } from "./config-file.ts";
import { connect } from "./connection.ts";
import type { CommandOptions } from "./connection.ts";
import { configDirectory, isThisMachine, ownSurroundings, readBaseUrl, readSettings } from "./settings.ts";
import { facts, plain } from "./table.ts";
import { print, printJson, say } from "./terminal.ts";

function ownConfig(): ConfigFile {
  return new ConfigFile(configDirectory(ownSurroundings()));
}

/** Writes a key to the config file, after the server has accepted it. */
export async function setKey(given: string | undefined, options: CommandOptions, signal: AbortSignal): Promise<void> {
  const apiKey = (given ?? options.apiKey ?? (await askForKey(signal))).trim();
  if (apiKey === "") {
    throw new InstaVmError("bad_request", "No key was given.", {
      next: "Pass it as the argument or on standard input.",
    });
  }
  const baseUrl = readBaseUrl(options, ownSurroundings());
  const user = await new InstaVm({ apiKey, baseUrl }).call("getCurrentUser", {}, { signal });
  const config = ownConfig();
  config.setKey(apiKey, options.baseUrl === undefined ? undefined : baseUrl);
  if (options.json === true) await printJson({ path: config.path, profile: config.activeProfile().name, user });
  else say(`the key of ${plain(user.name)} is in ${config.path}`);
}

/** From a terminal without showing it, else all of standard input. */
async function askForKey(signal: AbortSignal): Promise<string> {
  if (!process.stdin.isTTY) return await text(process.stdin);
  process.stderr.write("API key: ");
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: process.stdin, output: silent, terminal: true });
  try {
    return await lines.question("", { signal });
  } finally {
    lines.close();
    process.stderr.write("\n");
  }
}

/** Shows which server and key the next command would use, and whether the server accepts it. */
export async function showStatus(options: CommandOptions, signal: AbortSignal): Promise<void> {
  const settings = readSettings(options, ownSurroundings());
  const user = await new InstaVm(settings).call("getCurrentUser", {}, { signal });
  const profile = ownConfig().activeProfile().name;
  if (options.json === true) {
    await printJson({ base_url: settings.baseUrl, key_source: settings.keySource, profile, user });
    return;
  }
  await print(
    process.stdout,
    facts([
      ["SERVER", settings.baseUrl],
      ["KEY", masked(settings.apiKey)],
      ["FROM", settings.keySource],
      ["USER", `${plain(user.name)} (${user.role})`],
    ]),
  );
}

/** Enough to know a key by, too little to use it. */
function masked(key: string): string {
  return key.length < 16 ? "…" : `${key.slice(0, 4)}…${key.slice(-4)}`;
}

/** Takes the key out of the config file; that there is none is no error. */
export async function logOut(options: CommandOptions): Promise<void> {
  const config = ownConfig();
  const had = config.activeProfile().apiKey !== undefined;
  if (had) config.removeKey();
  if (options.json === true) await printJson({ path: config.path, removed: had });
  else say(had ? `the key is gone from ${config.path}` : `no key is in ${config.path}`);
}

/** There is nothing to log in to: says how this program gets its key. */
export async function explainLogin(options: CommandOptions): Promise<void> {
  const baseUrl = readBaseUrl(options, ownSurroundings());
  if (isThisMachine(baseUrl)) {
    say(`no login is needed: ${baseUrl} is on this machine, and its admin key is read from its state directory`);
    say("a user who may not read it types `instavm auth set-key`");
  } else {
    say(`no login is needed: get a key from whoever runs ${baseUrl}, then type \`instavm auth set-key\``);
  }
}

/** Shows whose key is used. */
export async function whoAmI(options: CommandOptions, signal: AbortSignal): Promise<void> {
  const { client } = connect(options);
  const user = await client.call("getCurrentUser", {}, { signal });
  if (options.json === true) await printJson(user);
  else
    await print(
      process.stdout,
      facts([
        ["NAME", plain(user.name)],
        ["ROLE", user.role],
        ["ID", String(user.id)],
      ]),
    );
}

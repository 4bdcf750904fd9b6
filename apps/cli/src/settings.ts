import { homedir } from "node:os";
import { join } from "node:path";
import { InstaVmError } from "instavm";
import { ConfigFile } from "./config-file.ts";
import { readTextFile } from "./json-file.ts";

/** The options that every command which talks to a server takes. */
export interface ServerOptions {
  readonly apiKey?: string;
  readonly baseUrl?: string;
}

/** Which server to talk to, and as whom. */
export interface Settings {
  readonly baseUrl: string;
  readonly apiKey: string;
  /** Where the key was found, for a person. */
  readonly keySource: string;
}

/** What settings are read from, so that tests can give their own. */
export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly home: string;
}

const defaultBaseUrl = "http://127.0.0.1:8222";
const defaultStateDirectory = "/var/lib/instavm";

/** The real environment and home directory. */
export function ownSurroundings(): Surroundings {
  return { env: process.env, home: homedir() };
}

/** Where the CLI keeps its own files. */
export function configDirectory(surroundings: Surroundings): string {
  return join(surroundings.home, ".instavm");
}

/**
 * Base URL: flag, `INSTAVM_BASE_URL`, config file, default. Key: flag, `INSTAVM_API_KEY`, config file, and for a server on this
 * machine its admin key when this user may read it. Throws `unauthorized` when there is no key.
 */
export function readSettings(options: ServerOptions, surroundings: Surroundings): Settings {
  const baseUrl = readBaseUrl(options, surroundings);
  const found = findKey(options, surroundings, baseUrl);
  if (found !== undefined) return { baseUrl, ...found };
  const place = isThisMachine(baseUrl) ? `, nor a readable ${adminKeyPath(surroundings)}` : "";
  throw new InstaVmError(
    "unauthorized",
    `There is no API key for ${baseUrl}: no --api-key, no INSTAVM_API_KEY, none in the config file${place}.`,
    {
      next: "Type `instavm auth set-key`, or pass --api-key. A server writes its first key to admin-key in its state directory.",
    },
  );
}

/** The server's address, without slashes at its end. */
export function readBaseUrl(options: ServerOptions, surroundings: Surroundings): string {
  const profile = new ConfigFile(configDirectory(surroundings)).activeProfile();
  const url = options.baseUrl ?? nonEmpty(surroundings.env["INSTAVM_BASE_URL"]) ?? profile.baseUrl ?? defaultBaseUrl;
  return url.replace(/\/+$/, "");
}

function findKey(
  options: ServerOptions,
  surroundings: Surroundings,
  baseUrl: string,
): Pick<Settings, "apiKey" | "keySource"> | undefined {
  const config = new ConfigFile(configDirectory(surroundings));
  const profile = config.activeProfile();
  // Read last, and never sent anywhere else.
  const adminKey = (): string | undefined =>
    isThisMachine(baseUrl) ? readTextFile(adminKeyPath(surroundings))?.trim() : undefined;
  const sources: readonly (readonly [string, () => string | undefined])[] = [
    ["--api-key", () => options.apiKey],
    ["INSTAVM_API_KEY", () => surroundings.env["INSTAVM_API_KEY"]],
    [`profile ${profile.name} of ${config.path}`, () => profile.apiKey],
    [adminKeyPath(surroundings), adminKey],
  ];
  for (const [keySource, find] of sources) {
    const apiKey = nonEmpty(find());
    if (apiKey !== undefined) return { apiKey, keySource };
  }
  return undefined;
}

function adminKeyPath({ env }: Surroundings): string {
  return join(nonEmpty(env["INSTAVM_STATE_DIR"]) ?? defaultStateDirectory, "admin-key");
}

/** Whether the address names the machine that this program runs on. */
export function isThisMachine(baseUrl: string): boolean {
  const host = URL.canParse(baseUrl) ? new URL(baseUrl).hostname : "";
  return host === "localhost" || host === "[::1]" || /^127(\.\d+){3}$/.test(host);
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}

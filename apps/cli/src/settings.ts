import { homedir } from "node:os";
import { join } from "node:path";
import { InstaVmError } from "instavm";
import { readJsonFile, readTextFile, recordAt, textAt } from "./json-file.ts";

/** The options that every command which talks to a server takes. */
export interface ServerOptions {
  readonly apiKey?: string;
  readonly baseUrl?: string;
}

/** Which server to talk to, and as whom. */
export interface Settings {
  readonly baseUrl: string;
  readonly apiKey: string;
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
  const { env } = surroundings;
  const profile = readProfile(surroundings);
  const baseUrl = withoutTrailingSlashes(
    options.baseUrl ?? nonEmpty(env["INSTAVM_BASE_URL"]) ?? profile.baseUrl ?? defaultBaseUrl,
  );
  const adminKeyPath = join(nonEmpty(env["INSTAVM_STATE_DIR"]) ?? defaultStateDirectory, "admin-key");
  const apiKey =
    options.apiKey ??
    nonEmpty(env["INSTAVM_API_KEY"]) ??
    profile.apiKey ??
    // Never sent anywhere else.
    (isThisMachine(baseUrl) ? readTextFile(adminKeyPath)?.trim() : undefined);
  if (apiKey !== undefined && apiKey !== "") return { baseUrl, apiKey };
  const place = isThisMachine(baseUrl) ? `, nor a readable ${adminKeyPath}` : "";
  throw new InstaVmError(
    "unauthorized",
    `There is no API key for ${baseUrl}: no --api-key, no INSTAVM_API_KEY, none in the config file${place}.`,
    {
      next: "Pass --api-key. A server writes its first key to admin-key in its state directory.",
    },
  );
}

/** The active profile of `config.json`; a file that is not there or not understood counts as empty. */
function readProfile(surroundings: Surroundings): { readonly apiKey?: string; readonly baseUrl?: string } {
  const config = readJsonFile(join(configDirectory(surroundings), "config.json"));
  const profile = recordAt(recordAt(config, "profiles"), textAt(config, "active_profile") ?? "default");
  const apiKey = textAt(recordAt(profile, "auth"), "api_key");
  const baseUrl = textAt(profile, "base_url");
  return { ...(apiKey === undefined ? {} : { apiKey }), ...(baseUrl === undefined ? {} : { baseUrl }) };
}

function isThisMachine(baseUrl: string): boolean {
  const host = URL.canParse(baseUrl) ? new URL(baseUrl).hostname : "";
  return host === "localhost" || host === "[::1]" || /^127(\.\d+){3}$/.test(host);
}

function withoutTrailingSlashes(url: string): string {
  return url.replace(/\/+$/, "");
}

function nonEmpty(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}

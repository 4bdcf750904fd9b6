import { chmodSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { InstaVmError } from "instavm";
import { readJsonFile, readTextFile, recordAt, textAt } from "./json-file.ts";

/** What the config file says of the active profile. */
export interface Profile {
  readonly name: string;
  readonly apiKey: string | undefined;
  readonly baseUrl: string | undefined;
}

/**
 * `config.json`: `{schema_version, active_profile, profiles: {name: {auth: {type, api_key}, base_url, ssh_host}}}`. What this
 * program does not know of it stays as it is.
 */
export class ConfigFile {
  readonly path: string;
  readonly #directory: string;

  constructor(configDirectory: string) {
    this.#directory = configDirectory;
    this.path = join(configDirectory, "config.json");
  }

  /** A file that is not there or not understood counts as empty. */
  activeProfile(): Profile {
    const config = readJsonFile(this.path);
    const name = textAt(config, "active_profile") ?? "default";
    const profile = recordAt(recordAt(config, "profiles"), name);
    return { name, apiKey: textAt(recordAt(profile, "auth"), "api_key"), baseUrl: textAt(profile, "base_url") };
  }

  /** Writes the active profile's key and, when it is given, its base URL. Throws `conflict` for a file that is no JSON. */
  setKey(apiKey: string, baseUrl: string | undefined): void {
    this.#change((profile) => ({
      ...profile,
      auth: { type: "api_key", api_key: apiKey },
      ...(baseUrl === undefined ? {} : { base_url: baseUrl }),
    }));
  }

  /** Takes the active profile's key away. */
  removeKey(): void {
    this.#change((profile) => Object.fromEntries(Object.entries(profile).filter(([name]) => name !== "auth")));
  }

  #change(change: (profile: Record<string, unknown>) => Record<string, unknown>): void {
    const config = this.#read();
    const name = textAt(config, "active_profile") ?? "default";
    const profiles = recordAt(config, "profiles");
    const changed = change({ ...recordAt(profiles, name) });
    this.#write({ schema_version: 1, active_profile: name, ...config, profiles: { ...profiles, [name]: changed } });
  }

  #read(): Record<string, unknown> {
    if (readTextFile(this.path) === undefined) return {};
    const config = readJsonFile(this.path);
    if (typeof config === "object" && config !== null) return { ...config };
    throw new InstaVmError("conflict", `The config file ${this.path} holds no JSON object, so it is not changed.`, {
      next: "Correct it, or move it away.",
    });
  }

  /** Whole or not at all, and for its owner only. */
  #write(config: Readonly<Record<string, unknown>>): void {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    const fresh = `${this.path}.${String(process.pid)}`;
    writeFileSync(fresh, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 });
    chmodSync(fresh, 0o600);
    renameSync(fresh, this.path);
  }
}

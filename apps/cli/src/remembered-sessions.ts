import { chmodSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readJsonFile, textAt } from "./json-file.ts";

/** The session that the CLI last used with each server, in a file that only its owner can read. */
export class RememberedSessions {
  readonly #directory: string;
  readonly #path: string;

  constructor(configDirectory: string) {
    this.#directory = configDirectory;
    this.#path = join(configDirectory, "sessions.json");
  }

  /** The session's id; undefined when none is remembered. */
  find(baseUrl: string): string | undefined {
    return textAt(readJsonFile(this.#path), baseUrl);
  }

  remember(baseUrl: string, sessionId: string): void {
    this.#write({ ...this.#all(), [baseUrl]: sessionId });
  }

  forget(baseUrl: string): void {
    this.#write(Object.fromEntries(Object.entries(this.#all()).filter(([url]) => url !== baseUrl)));
  }

  #all(): Record<string, string> {
    const stored = readJsonFile(this.#path);
    if (typeof stored !== "object" || stored === null) return {};
    return Object.fromEntries(Object.entries(stored).filter(([, id]) => typeof id === "string"));
  }

  /** Whole or not at all: calls that run side by side leave one of their versions. */
  #write(sessions: Readonly<Record<string, string>>): void {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    const fresh = `${this.#path}.${String(process.pid)}`;
    writeFileSync(fresh, `${JSON.stringify(sessions, null, 2)}\n`, { mode: 0o600 });
    chmodSync(fresh, 0o600);
    renameSync(fresh, this.#path);
  }
}

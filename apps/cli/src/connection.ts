import { InstaVm } from "instavm";
import { RememberedSessions } from "./remembered-sessions.ts";
import { configDirectory, ownSurroundings, readSettings } from "./settings.ts";
import type { ServerOptions, Settings } from "./settings.ts";

/** The options of every command that asks a server something. */
export interface CommandOptions extends ServerOptions {
  readonly json?: boolean;
}

/** A server as a command reaches it. */
export interface Connection {
  readonly settings: Settings;
  readonly client: InstaVm;
  readonly sessions: RememberedSessions;
}

/** Nothing is sent yet. Throws `unauthorized` when there is no key. */
export function connect(options: ServerOptions): Connection {
  const surroundings = ownSurroundings();
  const settings = readSettings(options, surroundings);
  return { settings, client: new InstaVm(settings), sessions: new RememberedSessions(configDirectory(surroundings)) };
}

/** A file in a VM. */
export interface RemotePlace {
  /** What `id` names; `remembered` is the session of the last call. */
  readonly kind: "vm" | "session" | "remembered";
  readonly id: string;
  readonly path: string;
}

/** A file on this machine; `-` is standard input or output. */
export interface LocalPlace {
  readonly kind: "local";
  readonly path: string;
}

const vmId = /^[a-z][a-z0-9]{19}$/;
const sessionId = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** `VM:PATH`, `SESSION:PATH` and `:PATH` are in a VM; all else is on this machine, and `./` in front makes that sure. */
export function parsePlace(text: string): RemotePlace | LocalPlace {
  const colon = text.indexOf(":");
  const id = text.slice(0, Math.max(colon, 0));
  const path = text.slice(colon + 1);
  if (colon === 0) return { kind: "remembered", id, path };
  if (vmId.test(id)) return { kind: "vm", id, path };
  if (sessionId.test(id)) return { kind: "session", id, path };
  return { kind: "local", path: text };
}

/** Whether a place is in a VM. */
export function isRemote(place: RemotePlace | LocalPlace): place is RemotePlace {
  return place.kind !== "local";
}

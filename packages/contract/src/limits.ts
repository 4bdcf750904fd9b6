/** The longest `command` of one execute, in bytes of UTF-8. */
export const commandLimitBytes = 8 * 1024 * 1024;

/** Where stdout and stderr of one execute are cut, each, in bytes. */
export const outputLimitBytes = 64 * 1024 * 1024;

/** The largest request body, in bytes: a command of the allowed length whose every character is escaped as `\uXXXX`. */
export const executeBodyLimitBytes = 3 * commandLimitBytes + 64 * 1024;

/** The largest body of every other request, in bytes. */
export const bodyLimitBytes = 1024 * 1024;

/** How long an execute may take, in seconds. */
export const executeTimeoutS = { default: 60, min: 1, max: 600 } as const;

/** An execute stops this long before the client's own read timeout, in ms. */
export const executeAnswerMarginMs = 250;

/** How long a session lives from its creation, in seconds. */
export const sessionLifetimeS = { default: 300, min: 20, max: 86_400 } as const;

/** Environment of a session: how many variables, and bytes of all names and values. */
export const envLimits = { variables: 256, bytes: 96 * 1024 } as const;

/** Metadata of a session, in bytes of its JSON. */
export const metadataLimitBytes = 16 * 1024;

/** Records in one answer of a list. */
export const listLimit = { default: 100, max: 1000 } as const;

/** How long a VM that is created by itself lives from its creation, in seconds. */
export const vmLifetimeS = { default: 300, min: 20, max: 604_800 } as const;

/** Copies that one fork of a VM makes. */
export const forkCount = { default: 1, min: 1, max: 100 } as const;

/** Records in one answer of GET /v1/vms/, which holds ended VMs too. */
export const vmRecordsLimit = { default: 1000, max: 10_000 } as const;

/** The longest name of a VM and the longest description of an API key, in characters. */
export const labelLimit = 200;

/** For how long an answer to an `Idempotency-Key` is kept, in hours, and how many of the newest of one API key. */
export const idempotencyLimits = { keptHours: 24, keptPerKey: 10_000 } as const;

/** A path inside a VM, in bytes of UTF-8. */
export const pathLimitBytes = 4096;

/** The largest file of one upload, in bytes. */
export const fileLimitBytes = 16 * 1024 ** 3;

/** The largest file of POST /download, whose answer is one JSON text, in bytes. */
export const downloadLimitBytes = 1024 ** 3;

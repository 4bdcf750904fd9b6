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

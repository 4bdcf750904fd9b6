/** The version of this release: server, contract and client. */
export const version = "0.1.0";

import { type ErrorCode, InstaVmError } from "@instavm/contract";

/** SQLite's primary result codes (the low byte of `errcode`) that mean something to an operator or a caller. */
const meanings: Readonly<Record<number, readonly [ErrorCode, string]>> = {
  5: ["unavailable", "another process holds them locked"],
  6: ["unavailable", "another process holds them locked"],
  8: ["host_setup", "the file or its directory cannot be written"],
  10: ["disk_full", "the disk refused to read or write"],
  11: ["host_setup", "the file is damaged"],
  13: ["disk_full", "the disk is full"],
  14: ["host_setup", "the file cannot be opened"],
  19: ["conflict", "this record contradicts one that is there"],
  26: ["host_setup", "the file is no database of InstaVM"],
};

/** Of these, the file itself is the matter. */
const unusable = new Set([11, 26]);

/** What opening the file can fail with. */
const fileMeanings: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  EACCES: ["host_setup", "the file or its directory cannot be written"],
  EPERM: ["host_setup", "the file or its directory cannot be written"],
  EROFS: ["host_setup", "the file or its directory cannot be written"],
  ENOENT: ["host_setup", "their directory does not exist"],
  ENOTDIR: ["host_setup", "their directory does not exist"],
  EISDIR: ["host_setup", "a directory is in the file's place"],
  ENOSPC: ["disk_full", "the disk is full"],
  EDQUOT: ["disk_full", "the disk quota is used up"],
};

/** A failure of the database as an error of the contract; what already is one passes through. */
export function recordsError(subject: string, error: unknown): InstaVmError {
  if (error instanceof InstaVmError) return error;
  const [code, meaning] =
    meanings[resultCode(error) & 0xff] ??
    fileMeanings[fileCode(error)] ??
    (["internal", "the database failed"] as const);
  const detail = error instanceof Error ? error.message : String(error);
  const message = `The records in ${subject}: ${meaning} (${detail}).`;
  if (!unusable.has(resultCode(error) & 0xff)) return new InstaVmError(code, message, { cause: error });
  const next = `Put a copy of ${subject} back, or move it away: the server then begins with empty records and ends the VMs of the old ones.`;
  return new InstaVmError(code, message, { next, cause: error });
}

function resultCode(error: unknown): number {
  if (!(error instanceof Error) || !("errcode" in error)) return 0;
  return typeof error.errcode === "number" ? error.errcode : 0;
}

function fileCode(error: unknown): string {
  if (!(error instanceof Error) || !("code" in error)) return "";
  return typeof error.code === "string" ? error.code : "";
}

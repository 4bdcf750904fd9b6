import type { MessageInitShape } from "@bufbuild/protobuf";
import { InstaVmError } from "@instavm/contract";
import type { FileOwner, GuestPath, WriteFileOptions, WriteTreeOptions } from "@instavm/core";
import type { ListDirectorySchema } from "@instavm/protocol/guest";
import { pathBytes } from "./guest-path.ts";
import { count, limitBytes, type OpenCall, permissionBits, readFileCall, writeFileCall } from "./requests.ts";

/** Most entries of one page. */
export const mostEntries = 1000;

/** The content, and the file before it. */
export function announcedFileCall(
  path: GuestPath,
  range: { readonly offset: number; readonly length: number },
): OpenCall {
  const call = readFileCall(path, range);
  return call.case === "readFile" ? { case: "readFile", value: { ...call.value, announce: true } } : call;
}

/** With everything that a written file may be asked to be. Throws `invalid`. */
export function ownedFileCall(path: GuestPath, options: WriteFileOptions): OpenCall {
  const call = writeFileCall(path, options);
  if (call.case !== "writeFile") return call;
  const owner = ownerNames(options.owner);
  return { case: "writeFile", value: { ...call.value, ...owner, mustBeNew: options.mustBeNew ?? false } };
}

/** Throws `invalid` for a page that is empty or too large. */
export function listCall(
  path: GuestPath,
  page: { readonly after: GuestPath | undefined; readonly limit: number },
): OpenCall {
  if (count("limit", page.limit) < 1 || page.limit > mostEntries) {
    throw new InstaVmError("invalid", `limit is ${page.limit}; expected 1 to ${mostEntries}.`);
  }
  const value: MessageInitShape<typeof ListDirectorySchema> = { path: pathBytes(path), limit: page.limit };
  if (page.after === undefined) return { case: "listDirectory", value };
  return { case: "listDirectory", value: { ...value, after: pathBytes(page.after) } };
}

/** Throws `invalid`. */
export function makeDirectoryCall(
  path: GuestPath,
  options: { readonly makeParents?: boolean; readonly mode?: number; readonly owner?: FileOwner },
): OpenCall {
  const { makeParents = false, mode = 0 } = options;
  return {
    case: "makeDirectory",
    value: { path: pathBytes(path), makeParents, mode: permissionBits(mode), ...ownerNames(options.owner) },
  };
}

/** Throws `invalid`; also when nothing is to be changed. */
export function changeCall(path: GuestPath, options: { readonly mode?: number; readonly owner?: FileOwner }): OpenCall {
  const { mode } = options;
  const owner = ownerNames(options.owner);
  if (mode === undefined && owner.user === "" && owner.group === "") {
    throw new InstaVmError("invalid", "Neither a mode nor an owner is named; expected at least one of them.");
  }
  const value = { path: pathBytes(path), ...owner };
  return { case: "changeFile", value: mode === undefined ? value : { ...value, mode: permissionBits(mode) } };
}

/** Throws `invalid`. */
export function writeTreeCall(path: GuestPath, options: WriteTreeOptions): OpenCall {
  const { makeParents = false, limitBytes: limit, owner } = options;
  const owners = owner === "archive" ? { keepOwners: true } : ownerNames(owner);
  const value = { path: pathBytes(path), makeParents, sizeLimitBytes: limitBytes(limit), ...owners };
  return { case: "writeTree", value };
}

function ownerNames(owner: FileOwner | undefined): { readonly user: string; readonly group: string } {
  return { user: owner?.user ?? "", group: owner?.group ?? "" };
}

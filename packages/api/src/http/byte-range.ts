/** One range of bytes as a client asks for it: from a place on, or the last so many. */
export type ByteRange =
  | { readonly kind: "from"; readonly offset: number; readonly length: number | undefined }
  | { readonly kind: "last"; readonly length: number };

/** The range of a `Range` header; undefined for none, several, and what is no range of bytes: then the whole is meant. */
export function parseRange(header: string | undefined): ByteRange | undefined {
  const [, from = "", to = ""] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header?.trim() ?? "") ?? [];
  if (from === "") return to === "" ? undefined : { kind: "last", length: Number(to) };
  const offset = Number(from);
  if (to === "") return { kind: "from", offset, length: undefined };
  const length = Number(to) - offset + 1;
  return length > 0 ? { kind: "from", offset, length } : undefined;
}

import { InstaVmError } from "@instavm/contract";
import type { FastifyRequest } from "fastify";
import { tooLarge } from "./too-large.ts";

/**
 * The bytes of a request's body as they come, to be read once. Throws `too_large` at once for a body that announces
 * more than the limit; the reading fails when more comes, or when the client leaves before the end.
 */
export function requestBytes(request: FastifyRequest, limitBytes: number): AsyncIterable<Uint8Array> {
  const announced = Number(request.headers["content-length"]);
  if (announced > limitBytes) throw tooLarge("The request's body", announced, limitBytes);
  return bodyPieces(request, limitBytes);
}

async function* bodyPieces({ raw }: FastifyRequest, limitBytes: number): AsyncGenerator<Uint8Array, void, undefined> {
  let bytes = 0;
  try {
    for await (const piece of raw.iterator({ destroyOnReturn: false })) {
      if (!(piece instanceof Uint8Array)) throw new InstaVmError("internal", "a piece of a body that is no bytes");
      bytes += piece.length;
      if (bytes > limitBytes) throw tooLarge("The request's body", Number.NaN, limitBytes);
      yield piece;
    }
  } finally {
    // What still comes is dropped, so that its sender gets the answer.
    raw.resume();
  }
  if (!raw.complete) throw new InstaVmError("cancelled", `The client left after ${bytes} bytes of the body.`);
}

import { InstaVmError } from "@instavm/contract";
import type { FastifyInstance } from "fastify";

const decoder = new TextDecoder("utf-8", { fatal: true });

/** Takes JSON bodies and nothing else; an empty body is an empty object. */
export function acceptJsonBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  app.addContentTypeParser(
    /^application\/(?:[\w.-]+\+)?json\b/,
    { parseAs: "buffer" },
    async (_request: unknown, bytes: Buffer) => (bytes.length === 0 ? {} : parse(decode(bytes))),
  );
}

function decode(bytes: Buffer): string {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    const message = `The request's body of ${bytes.length} bytes is not UTF-8; JSON must be.`;
    throw new InstaVmError("bad_request", message, { cause });
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message.slice(0, 200) : "";
    throw new InstaVmError("bad_request", `The request's body is not valid JSON: ${reason}`, {
      next: "Send a JSON object, encoded as UTF-8.",
      cause,
    });
  }
}

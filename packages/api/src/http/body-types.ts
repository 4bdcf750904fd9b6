import { InstaVmError } from "@instavm/contract";
import type { BodyType } from "@instavm/contract";
import type { FastifyInstance, FastifyRequest } from "fastify";

/** Makes a scope take bodies of one type other than JSON: forms as an object, the others unread. */
export function acceptBodies(scope: FastifyInstance, type: Exclude<BodyType, "application/json">): void {
  scope.removeAllContentTypeParsers();
  if (type === "application/x-www-form-urlencoded") {
    scope.addContentTypeParser(type, { parseAs: "string" }, async (_request: unknown, text: string) =>
      Object.fromEntries(new URLSearchParams(text)),
    );
  }
  scope.addContentTypeParser("*", async (request: FastifyRequest, body: unknown) => {
    // The bytes of a file may call themselves whatever they like.
    if (type !== "application/octet-stream" && !isOfType(request, type)) throw wrongType(request, type);
    return body;
  });
}

function isOfType(request: FastifyRequest, type: BodyType): boolean {
  const [given = ""] = (request.headers["content-type"] ?? "").split(";", 1);
  return given.trim().toLowerCase() === type;
}

function wrongType(request: FastifyRequest, type: BodyType): InstaVmError {
  const given = request.headers["content-type"]?.slice(0, 100) ?? "not given";
  return new InstaVmError("bad_request", `The request's content type is ${given}; ${type} is expected.`, {
    next: `Send the body as ${type}.`,
  });
}

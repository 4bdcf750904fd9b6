import { randomUUID } from "node:crypto";
import { STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import { InstaVmError } from "@instavm/contract";
import { errorBody } from "./error-answer.ts";

/** What Node says of a connection, as far as it matters here. */
interface ConnectionError {
  readonly code?: string;
}

/** A body that stands still or comes too slowly, as Node says it of headers. */
export const bodyIsLate: ConnectionError = { code: "ERR_HTTP_REQUEST_TIMEOUT" };

/** Answers bytes that never became a request (broken HTTP, headers without end, too slow a sender), then closes. */
export function answerBrokenRequest(error: ConnectionError, socket: Socket): void {
  if (error.code === "ECONNRESET" || socket.destroyed) {
    socket.destroy();
    return;
  }
  const answer = toInstaVmError(error);
  const id = randomUUID();
  const body = JSON.stringify(errorBody(answer, id));
  const head = [
    `HTTP/1.1 ${answer.status} ${STATUS_CODES[answer.status] ?? ""}`,
    "content-type: application/json; charset=utf-8",
    `content-length: ${Buffer.byteLength(body)}`,
    `x-request-id: ${id}`,
    "connection: close",
  ];
  socket.end(`${head.join("\r\n")}\r\n\r\n${body}`, () => socket.destroy());
}

function toInstaVmError(error: ConnectionError): InstaVmError {
  if (error.code === bodyIsLate.code) {
    return new InstaVmError("timeout", "The request did not arrive whole in time.");
  }
  if (error.code === "HPE_HEADER_OVERFLOW") {
    const next = "Send fewer or shorter headers.";
    return new InstaVmError("bad_request", "The request's headers are larger than 16384 bytes.", { next });
  }
  return new InstaVmError("bad_request", "The connection carried something that is not an HTTP/1.1 request.");
}

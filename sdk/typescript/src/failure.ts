import { InstaVmError, errorBodySchema, errorTable } from "@instavm/contract";
import type { ErrorBody, ErrorCode } from "@instavm/contract";
import { mayPass } from "./aftermath.ts";
import { parseJson } from "./json.ts";

/** What one request was, for the sentences of its errors. */
export interface Asked {
  readonly baseUrl: string;
  readonly method: string;
  readonly path: string;
  readonly timeoutMs: number;
}

/** Statuses of servers, and of what stands before them, that say come again. */
const passingStatuses = [429, 502, 503, 504];
/** Codes that another try does not cure: the caller allowed no more time, or wanted the end, or somebody has to make room. */
const finalCodes: readonly string[] = ["timeout", "cancelled", "disk_full"];
/** Nothing was begun: the server was full. */
const refusingCodes: readonly string[] = ["capacity", "rate_limited"];

/** The error that an answer which is no success stands for. */
export function failureOfAnswer(response: Response, text: string): InstaVmError {
  const { status } = response;
  const retryAfterS = Number(response.headers.get("retry-after") ?? Number.NaN);
  const patience = Number.isFinite(retryAfterS) ? { retryAfterS } : {};
  const parsed = errorBodySchema.safeParse(parseJson(text));
  const code = parsed.success ? parsed.data.code : "bad_gateway";
  const error = parsed.success
    ? errorOfBody(parsed.data, { status, ...patience })
    : new InstaVmError("bad_gateway", `${response.url} answered ${status} without InstaVM's error body.`, patience);
  const isKnown = parsed.success && isErrorCode(code);
  const passes = isKnown ? error.retryable && !finalCodes.includes(code) : passingStatuses.includes(status);
  return passes ? mayPass(error, status === 429 || refusingCodes.includes(code) ? "nothing" : "unknown") : error;
}

/** The error that a body stands for. A code of a newer server becomes the nearest one that this client knows. */
function errorOfBody(
  body: ErrorBody,
  answer: { readonly status: number; readonly retryAfterS?: number } = { status: 500 },
): InstaVmError {
  const { detail, code, next, request_id: requestId, errors } = body;
  return new InstaVmError(isErrorCode(code) ? code : codeForStatus(answer.status), detail, {
    next,
    requestId,
    ...(errors === undefined ? {} : { errors }),
    ...(answer.retryAfterS === undefined ? {} : { retryAfterS: answer.retryAfterS }),
  });
}

/** The error that the data of an `error` event stands for. */
export function errorOfEvent(data: string): InstaVmError {
  const parsed = errorBodySchema.safeParse(parseJson(data));
  if (parsed.success) return errorOfBody(parsed.data);
  return new InstaVmError("bad_gateway", "The stream ended with an error that is not InstaVM's.", {
    cause: parsed.error,
  });
}

/** The error for an answer that is a success, but not one of this API's. */
export function failureOfShape(asked: Asked, cause: Error): InstaVmError {
  const { method, baseUrl, path } = asked;
  return new InstaVmError(
    "bad_gateway",
    `${method} ${baseUrl}${path} answered something that is not InstaVM's: ${cause.message}`,
    { cause },
  );
}

/** The error for a deadline that has passed. */
export function failureOfDeadline(asked: Asked, cause: unknown): InstaVmError {
  return new InstaVmError(
    "timeout",
    `${asked.baseUrl} did not answer ${asked.method} ${asked.path} within ${asked.timeoutMs} ms.`,
    { cause },
  );
}

/** The error for a connection that was not made, or broke. */
export function failureOfConnection(asked: Asked, cause: unknown): InstaVmError {
  if (isStringTooLong(cause)) {
    return new InstaVmError(
      "too_large",
      `The answer to ${asked.method} ${asked.path} is longer than the longest text that JavaScript can hold.`,
      {
        next:
          asked.path === "/execute"
            ? "Print less: bytes that are no text, such as NULs, take six times their size in JSON."
            : "Ask for less at once.",
        cause,
      },
    );
  }
  const message = `The server at ${asked.baseUrl} cannot be reached: ${reason(cause)}.`;
  const next = "Start it with `instavm server`, or correct the base URL.";
  return mayPass(new InstaVmError("unavailable", message, { next, cause }), isUnsent(cause) ? "nothing" : "unknown");
}

/** Codes of runtimes for a connection that did not come about. Browsers say no reason. */
const unsentCodes: readonly unknown[] = [
  "ECONNREFUSED",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ENOTFOUND",
  "EAI_AGAIN",
  "UND_ERR_CONNECT_TIMEOUT",
  "ConnectionRefused",
];

/** The connection was not made, so that the server has seen nothing. */
function isUnsent(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ("code" in error && unsentCodes.includes(error.code)) return true;
  if (error instanceof AggregateError) return error.errors.length > 0 && error.errors.every(isUnsent);
  return isUnsent(error.cause);
}

function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errorTable, code);
}

function codeForStatus(status: number): ErrorCode {
  if (status === 404) return "not_found";
  return status < 500 ? "bad_request" : "internal";
}

function isStringTooLong(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ERR_STRING_TOO_LONG";
}

/** `fetch` says "fetch failed" and keeps the reason in the cause. */
function reason(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.cause instanceof AggregateError && error.cause.errors.length > 0) return reason(error.cause.errors[0]);
  return error.cause instanceof Error ? reason(error.cause) : error.message;
}

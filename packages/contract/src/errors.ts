interface ErrorRow {
  /** HTTP status of an answer with this code. */
  readonly status: number;
  /** true when the same call can succeed later without a change. */
  readonly retryable: boolean;
  /** What to do next, when the place that raises it knows nothing better. */
  readonly next: string;
}

/** Every code that an answer, a log line or the CLI can carry. A code never changes its meaning. */
export const errorTable = {
  bad_request: { status: 400, retryable: false, next: "Correct the request; /openapi.json describes it." },
  invalid: { status: 422, retryable: false, next: "Correct the named field." },
  too_large: { status: 413, retryable: false, next: "Send less, or in several parts." },
  unauthorized: { status: 401, retryable: false, next: "Send a valid key in the X-API-Key header." },
  forbidden: { status: 403, retryable: false, next: "Use a key that may do this." },
  limit_exceeded: { status: 403, retryable: false, next: "Stay under the limit, or have it raised." },
  not_found: { status: 404, retryable: false, next: "Check the path; /openapi.json lists them all." },
  method_not_allowed: { status: 405, retryable: false, next: "Use a method of the Allow header." },
  session_not_found: { status: 404, retryable: false, next: "Create a session with POST /v1/sessions/session." },
  vm_not_found: { status: 404, retryable: false, next: "List the VMs with GET /v1/vms." },
  key_not_found: { status: 404, retryable: false, next: "List the API keys with GET /v1/api-keys." },
  file_not_found: { status: 404, retryable: false, next: "Check the path inside the VM." },
  context_not_found: {
    status: 404,
    retryable: false,
    next: "List the VM's contexts with GET /v1/vms/{vm_id}/contexts.",
  },
  command_not_found: {
    status: 404,
    retryable: false,
    next: "List the VM's commands with GET /v1/vms/{vm_id}/commands.",
  },
  range_not_satisfiable: { status: 416, retryable: false, next: "Ask for bytes that the file has." },
  execution_not_found: { status: 404, retryable: false, next: "List the executions with GET /v1/executions." },
  idempotency_key_reused: { status: 422, retryable: false, next: "Take a new Idempotency-Key for another request." },
  conflict: { status: 409, retryable: false, next: "Read the current state first." },
  timeout: { status: 408, retryable: true, next: "Allow more time." },
  /** Ended on the caller's side: its session was killed, its signal fired, its output was not read to the end. */
  cancelled: { status: 409, retryable: true, next: "Call again when the result is wanted." },
  not_implemented: { status: 501, retryable: false, next: "This release does not have it yet." },
  capacity: { status: 503, retryable: true, next: "End sandboxes that are not needed, or wait." },
  /** What answered is not an InstaVM server; made by clients. */
  bad_gateway: { status: 502, retryable: false, next: "Check the base URL and what stands between client and server." },
  unavailable: { status: 503, retryable: true, next: "Try again in a moment." },
  gateway_timeout: { status: 504, retryable: true, next: "Try again; the VM is replaced when it stays silent." },
  internal: { status: 500, retryable: false, next: "Look into the server's log for the request id." },
  /** The VM's process ended. */
  vm_lost: { status: 503, retryable: true, next: "Call again: the session gets a fresh VM." },
  /** The agent did not answer in time. */
  guest_unreachable: { status: 504, retryable: true, next: "Call again: the VM is replaced." },
  /** The agent's bytes broke the protocol. */
  guest_protocol: { status: 502, retryable: true, next: "Call again: the VM is replaced." },
  /** The guest answered a call with a failure. */
  guest_failure: { status: 502, retryable: false, next: "The message says what the guest saw." },
  disk_full: { status: 503, retryable: true, next: "Free disk space under the state directory." },
  host_setup: { status: 503, retryable: false, next: "Run `instavm doctor`: it names what is missing." },
  not_forkable: {
    status: 409,
    retryable: false,
    next: "Run `instavm doctor`: it says whether VMs can be forked here.",
  },
  image_missing: { status: 503, retryable: false, next: "Run script/setup: it builds the base image." },
  engine_failed: { status: 503, retryable: true, next: "Run `instavm doctor`; the VM's console.log has details." },
  launcher_unreachable: {
    status: 503,
    retryable: true,
    next: "Run `instavm doctor`; see launcher.log in the state directory.",
  },
} as const satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof errorTable;

export interface FieldError {
  /** Where: `["body", "timeout"]`. */
  readonly loc: readonly (string | number)[];
  readonly msg: string;
  readonly type: string;
}

export interface InstaVmErrorOptions {
  /** What to do next, in place of the table's general advice. */
  readonly next?: string;
  readonly errors?: readonly FieldError[];
  /** Seconds after which another try makes sense; sent as Retry-After. */
  readonly retryAfterS?: number;
  /** The server's id for the request that failed; set by clients. */
  readonly requestId?: string;
  readonly cause?: unknown;
}

/** The one error type: a code of the table and one message that says subject, observed and expected. */
export class InstaVmError extends Error {
  readonly code: ErrorCode;
  readonly next: string;
  readonly errors: readonly FieldError[] | undefined;
  readonly retryAfterS: number | undefined;
  readonly requestId: string | undefined;

  constructor(code: ErrorCode, message: string, options: InstaVmErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = "InstaVmError";
    this.code = code;
    this.next = options.next ?? errorTable[code].next;
    this.errors = options.errors;
    this.retryAfterS = options.retryAfterS;
    this.requestId = options.requestId;
  }

  get status(): number {
    return errorTable[this.code].status;
  }

  get retryable(): boolean {
    return errorTable[this.code].retryable;
  }
}

import { InstaVmError, type SessionId } from "@instavm/contract";
import type { SessionRecord } from "../ports/records.ts";

/** The error for a session that does not exist, or not for this caller: both look the same. */
export function unknownSession(sessionId: SessionId): InstaVmError {
  return new InstaVmError("session_not_found", `Session ${sessionId} does not exist`);
}

/** Why a session cannot be used any more; undefined while it lives. */
export function endOf(session: SessionRecord, nowMs: number): InstaVmError | undefined {
  const { sessionId, lifetimeS, endReason, endedAtMs, expiresAtMs } = session;
  const hasExpired = endReason === "expired" || (endedAtMs === undefined && expiresAtMs <= nowMs);
  if (hasExpired) return expiredSession(sessionId, lifetimeS);
  return endedAtMs === undefined ? undefined : killedSession(sessionId);
}

/** The error for a session whose lifetime is over. */
export function expiredSession(sessionId: SessionId, lifetimeS: number): InstaVmError {
  return new InstaVmError(
    "session_not_found",
    `Session ${sessionId} has ended: its lifetime of ${lifetimeS} s is over`,
    { next: "Create a new session with POST /v1/sessions/session, with a longer lifetime if need be." },
  );
}

/** The error for a session that its owner ended. */
export function killedSession(sessionId: SessionId): InstaVmError {
  return new InstaVmError("session_not_found", `Session ${sessionId} has ended: it was killed`);
}

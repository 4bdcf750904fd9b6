import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { FastifyInstance } from "fastify";
import { answerBrokenRequest, bodyIsLate } from "./broken-request.ts";

/** Bounds of slow bodies and answers, in ms. */
export interface StallBounds {
  /** For a request's body, and longer by its size: see `leastBytesPerMs`. */
  readonly requestMs: number;
  /** How long a body or an answer may stand still. */
  readonly stallMs: number;
  readonly checkEveryMs: number;
}

/** A body that takes longer than `requestMs` must come at this rate on average. */
const leastBytesPerMs = 16;

/** What is left of a refused body is read and dropped for so long, and up to so many bytes. */
const lingerMs = 10_000;
const lingerBytes = 256 * 1024 * 1024;

interface Watched {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly socket: Socket;
  startedAtMs: number;
  readonly startBytes: number;
  checkedAtMs: number;
  lastBytes: number;
  movedAtMs: number;
  /** When the answer was seen to be out before its body was in, and what had been read of the body. */
  refused: { readonly atMs: number; readonly bytes: number } | undefined;
}

/**
 * Closes exchanges that stand still or crawl: bodies that do not arrive, with 408 where an answer is still possible,
 * and answers that are not read. A deadline for the whole would also end long transfers. A body that goes on behind its
 * refusal is dropped for a while before its connection is closed: closed at once it would be reset, and its sender would
 * never see the answer.
 */
export function closeStalledExchanges(app: FastifyInstance, bounds: StallBounds): void {
  const watched = new Set<Watched>();
  const byRequest = new WeakMap<IncomingMessage, Watched>();
  const timer = setInterval(() => {
    const nowMs = performance.now();
    for (const each of watched) if (!check(each, nowMs, bounds)) watched.delete(each);
  }, bounds.checkEveryMs);
  timer.unref();
  app.addHook("onClose", async () => clearInterval(timer));
  app.addHook("onRequest", async (request, reply) => {
    const { socket } = request.raw;
    const nowMs = performance.now();
    const bytes = movedBytes(socket);
    const entry: Watched = {
      request: request.raw,
      response: reply.raw,
      socket,
      startedAtMs: nowMs,
      startBytes: socket.bytesRead,
      checkedAtMs: nowMs,
      lastBytes: bytes,
      movedAtMs: nowMs,
      refused: undefined,
    };
    watched.add(entry);
    byRequest.set(request.raw, entry);
  });
  app.addHook("onResponse", async (request) => {
    const entry = byRequest.get(request.raw);
    if (entry !== undefined && request.raw.complete) watched.delete(entry);
  });
}

/** false: it needs no more looking at. */
function check(watched: Watched, nowMs: number, { requestMs, stallMs }: StallBounds): boolean {
  const { request, response, socket } = watched;
  if (socket.destroyed || (request.complete && response.writableFinished)) return false;
  const sinceCheckMs = nowMs - watched.checkedAtMs;
  watched.checkedAtMs = nowMs;
  const bytes = movedBytes(socket);
  if (request.readableLength > 0) {
    // It is not the client who is waited for: what it sent has not been taken yet.
    watched.startedAtMs += sinceCheckMs;
    watched.movedAtMs = nowMs;
  } else if (bytes !== watched.lastBytes) {
    watched.movedAtMs = nowMs;
  }
  watched.lastBytes = bytes;
  const standsStill = nowMs - watched.movedAtMs > stallMs;
  if (!request.complete && response.writableFinished) {
    watched.refused ??= { atMs: nowMs, bytes: socket.bytesRead };
    const { refused } = watched;
    if (nowMs - refused.atMs <= lingerMs && socket.bytesRead - refused.bytes <= lingerBytes) return true;
    socket.destroy();
    return false;
  }
  if (!request.complete) {
    const allowedMs = requestMs + (socket.bytesRead - watched.startBytes) / leastBytesPerMs;
    if (!standsStill && nowMs - watched.startedAtMs <= allowedMs) return true;
    if (response.headersSent) socket.destroy();
    else answerBrokenRequest(bodyIsLate, socket);
    return false;
  }
  if (!standsStill || !response.writableNeedDrain) return true;
  socket.destroy();
  return false;
}

function movedBytes({ bytesRead, bytesWritten }: Socket): number {
  return bytesRead + bytesWritten;
}

import type { IncomingMessage } from "node:http";

/** What is left of a refused body is dropped for so long, and up to so many bytes. */
const lingerMs = 10_000;
const lingerBytes = 256 * 1024 * 1024;
const checkEveryMs = 100;

/**
 * Bounds the rest of a body that is refused. A connection that is closed while its client still sends is reset, and
 * the client never sees the answer; so Node goes on reading and drops what comes, until here it has been enough.
 * Returns at once.
 */
export function lingerFor(request: IncomingMessage): void {
  const { socket } = request;
  const startedAtMs = performance.now();
  const bytesBefore = socket.bytesRead;
  const timer = setInterval(() => {
    if (request.complete || socket.destroyed) {
      clearInterval(timer);
    } else if (performance.now() - startedAtMs > lingerMs || socket.bytesRead - bytesBefore > lingerBytes) {
      clearInterval(timer);
      socket.destroy();
    }
  }, checkEveryMs);
  timer.unref();
}

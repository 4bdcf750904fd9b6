import { constants } from "node:os";

/** Aborts at the first SIGTERM or SIGINT; the second one ends the program at once. */
export function stopSignal(): AbortSignal {
  const controller = new AbortController();
  const onSignal = (name: "SIGTERM" | "SIGINT"): void => {
    if (controller.signal.aborted) process.exit(128 + constants.signals[name]);
    controller.abort();
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  return controller.signal;
}

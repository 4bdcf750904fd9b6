/**
 * Shares one run among all who ask while it is under way; who asks later starts a new run. A waiter that must
 * leave early wraps its wait with `withDeadline`: the run goes on for the others.
 */
export function singleFlight<T>(run: () => Promise<T>): () => Promise<T> {
  let current: Promise<T> | undefined;
  return () => {
    current ??= run().finally(() => {
      current = undefined;
    });
    return current;
  };
}

/** Runs once and keeps the result for every later caller. A run that failed is forgotten: the next caller tries again. */
export function once<T>(run: () => Promise<T>): () => Promise<T> {
  let kept: Promise<T> | undefined;
  return () => {
    kept ??= run().catch((error: unknown) => {
      kept = undefined;
      throw error;
    });
    return kept;
  };
}

/** Gives an object its release, so that `await using` ends it. Releasing twice does the work once. */
export function makeResource<T extends object>(value: T, release: () => Promise<void> | void): T & AsyncDisposable {
  let released: Promise<void> | undefined;
  return Object.assign(value, {
    [Symbol.asyncDispose]: (): Promise<void> => {
      released ??= (async () => {
        await release();
      })();
      return released;
    },
  });
}

/** A release without an object: `await using _ = defer(() => rm(path))`. */
export function defer(release: () => Promise<void> | void): AsyncDisposable {
  return makeResource({}, release);
}

/**
 * Builds something out of several acquired parts. When `build` throws, everything on its stack is released, last
 * first; when it succeeds, the stack becomes the release of the value.
 */
export async function buildResource<T extends object>(
  build: (parts: AsyncDisposableStack) => Promise<T>,
): Promise<T & AsyncDisposable> {
  await using parts = new AsyncDisposableStack();
  const value = await build(parts);
  const kept = parts.move();
  return makeResource(value, () => kept.disposeAsync());
}

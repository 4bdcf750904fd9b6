/** Collects a stream's bytes up to a limit: its beginning, or its end. */
export interface BoundedOutput {
  add(chunk: Buffer): void;
  /** As UTF-8; a broken character at a cut becomes U+FFFD. */
  text(): string;
  readonly truncated: boolean;
}

/** Keeps the first `limitBytes`. */
export function keepBeginning(limitBytes: number): BoundedOutput {
  const chunks: Buffer[] = [];
  let size = 0;
  let truncated = false;
  return {
    add(chunk) {
      const kept = chunk.subarray(0, limitBytes - size);
      truncated ||= kept.length < chunk.length;
      if (kept.length > 0) chunks.push(kept);
      size += kept.length;
    },
    text: () => Buffer.concat(chunks).toString("utf8"),
    get truncated() {
      return truncated;
    },
  };
}

/** Keeps the last `limitBytes`: where a program says why it failed. */
export function keepEnd(limitBytes: number): BoundedOutput {
  let chunks: Buffer[] = [];
  let size = 0;
  let truncated = false;
  const cut = (): void => {
    const all = Buffer.concat(chunks);
    chunks = [Buffer.from(all.subarray(Math.max(0, all.length - limitBytes)))];
    size = Math.min(all.length, limitBytes);
  };
  return {
    add(chunk) {
      chunks.push(chunk);
      size += chunk.length;
      if (size <= limitBytes) return;
      truncated = true;
      // Cut seldom: joining on each chunk would cost the square of the output.
      if (size > 2 * limitBytes) cut();
    },
    text() {
      if (size > limitBytes) cut();
      return Buffer.concat(chunks).toString("utf8");
    },
    get truncated() {
      return truncated;
    },
  };
}

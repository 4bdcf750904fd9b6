/** What a new sandbox is made of. */
export interface ShapeOptions {
  /** By default 2. */
  readonly vcpuCount?: 1 | 2 | 4 | 6 | 8;
  /** 128..8192, by default 512. */
  readonly memoryMib?: number;
  /** Seconds until it ends by itself, by default 300. */
  readonly lifetimeS?: number;
  /** What its programs find in their environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Any JSON object, to find it by later. */
  readonly metadata?: Readonly<Record<string, unknown>>;
}

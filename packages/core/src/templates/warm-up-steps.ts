/**
 * One thing that is run in a VM so that its first use by a client is fast. A step leaves no name, file or process
 * behind that a client could notice.
 */
export type WarmUpStep = {
  /** Without an essential step's success the VM is of no use; another's failure is only logged. */
  readonly isEssential: boolean;
} & (
  | { readonly kind: "code"; readonly language: "python" | "bash"; readonly code: string; readonly exitCode: number }
  | { readonly kind: "program"; readonly argv: readonly string[] }
  | { readonly kind: "file"; readonly path: string; readonly bytes: number }
  /** An identity that no clone keeps: sets up what taking one needs once (generators, files as long as a clone's). */
  | { readonly kind: "identity" }
);

/** What is run in a template before it is saved; every clone has run it. The last step leaves the disk's cache clean. */
export const templateWarmUp: readonly WarmUpStep[] = [
  python(`print("ready")`, { isEssential: true }),
  python(
    `import sys, os, json, time, math, random, re, subprocess; del sys, os, json, time, math, random, re, subprocess`,
  ),
  // The ways that only IPython knows: a shell line, a magic, top-level await, rich display, a traceback.
  python(`!true`),
  python(`%pwd`),
  python(`await __import__("asyncio").sleep(0)`),
  python(`display("ready")`),
  python(`raise ValueError("ready")`, { exitCode: 1 }),
  python(`def _ready(n):\n    return sum(i * i for i in range(n))\nprint(_ready(1000))\ndel _ready`),
  bash(`echo ready`, { isEssential: true }),
  bash(`ls / | head -n 1; x=$(cat /etc/hostname); test -n "$PATH"`),
  program("sh", "-c", "true"),
  program("python3", "-c", "print(1)"),
  program("node", "-e", "console.log(1)"),
  program("node", "-v"),
  { kind: "file", path: "/tmp/.instavm-ready", bytes: 4096, isEssential: true },
  program("rm", "-f", "/tmp/.instavm-ready"),
  { kind: "identity", isEssential: true },
  program("sync"),
];

/** What is run in a clone that waits in the pool: the emulator translates the code that the first call will need. */
export const poolWarmUp: readonly WarmUpStep[] = [
  python(`print("ready")`, { isEssential: true }),
  bash(`echo ready`, { isEssential: true }),
  python(`print(6*7)`),
  python(
    `def _ready(n):\n    return sum(i * i for i in range(n))\nprint(_ready(100), f"{1/3:.2f}")\ndel _ready\n"ready"`,
  ),
  bash(`ls / | head -n 1`),
  python(`print(6*7)`),
];

/**
 * What is run in a zygote before it is forked: every fork has the translated code of it. Each thing twice, because the emulator
 * chains blocks of code only when it comes by again.
 */
export const zygoteWarmUp: readonly WarmUpStep[] = [
  ...templateWarmUp,
  ...poolWarmUp,
  { kind: "identity", isEssential: true },
  ...poolWarmUp,
  { kind: "identity", isEssential: true },
  python(`print(6*7)`),
  program("sync"),
];

/** Names a list of steps: another list has another name, so that a template made with other steps is not used. */
export function warmthOf(steps: readonly WarmUpStep[]): string {
  // FNV-1a, 64 bits: names the list, protects nothing.
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(JSON.stringify(steps))) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  }
  return `warm-${hash.toString(16).padStart(16, "0")}`;
}

function python(
  code: string,
  options: { readonly isEssential?: boolean; readonly exitCode?: number } = {},
): WarmUpStep {
  return { kind: "code", language: "python", code, exitCode: 0, isEssential: false, ...options };
}

function bash(code: string, options: { readonly isEssential?: boolean } = {}): WarmUpStep {
  return { kind: "code", language: "bash", code, exitCode: 0, isEssential: false, ...options };
}

function program(...argv: readonly string[]): WarmUpStep {
  return { kind: "program", argv, isEssential: false };
}

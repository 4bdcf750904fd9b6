interface KnownPath {
  /** Undefined stands for a parameter. */
  readonly steps: readonly (string | undefined)[];
  /** Whatever follows is part of it. */
  readonly isOpen: boolean;
  readonly methods: Set<string>;
}

/** Which methods the paths of the API have, so that a wrong method can be told from a wrong path. */
export class KnownPaths {
  readonly #paths = new Map<string, KnownPath>();

  /** `url` as Fastify writes it: `:name` for a parameter, `::` for a colon, `*` at the end for anything. */
  add(url: string, methods: readonly string[]): void {
    const key = stepsOf(url).join("/");
    const known = this.#paths.get(key) ?? read(url);
    this.#paths.set(key, known);
    for (const method of methods) known.methods.add(method);
  }

  /** The methods of a requested path, in alphabetical order; none when nothing is there. */
  methodsOf(path: string): readonly string[] {
    const steps = stepsOf(path);
    const fitting = [...this.#paths.values()].filter((known) => fits(known, steps));
    return [...new Set(fitting.flatMap(({ methods }) => [...methods]))].toSorted();
  }
}

function read(url: string): KnownPath {
  const steps = stepsOf(url);
  const isOpen = steps.at(-1) === "*";
  const named = isOpen ? steps.slice(0, -1) : steps;
  return {
    steps: named.map((step) => (/^:[^:]/.test(step) ? undefined : step.replaceAll("::", ":"))),
    isOpen,
    methods: new Set(),
  };
}

function stepsOf(path: string): readonly string[] {
  return path.split("/").filter((step) => step !== "");
}

function fits({ steps, isOpen }: KnownPath, requested: readonly string[]): boolean {
  if (isOpen ? requested.length < steps.length : requested.length !== steps.length) return false;
  return steps.every((step, index) => step === undefined || step === requested[index]);
}

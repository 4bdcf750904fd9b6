/** A variable of the process, where there is one (Node, Deno, Bun); undefined in a browser, and for an empty one. */
export function environmentVariable(name: string): string | undefined {
  const surroundings: unknown = Reflect.get(globalThis, "process");
  const env: unknown = isObject(surroundings) ? Reflect.get(surroundings, "env") : undefined;
  const value: unknown = isObject(env) ? Reflect.get(env, name) : undefined;
  return typeof value === "string" && value !== "" ? value : undefined;
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

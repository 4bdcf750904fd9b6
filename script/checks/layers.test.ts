import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { rooms, testImports } from "../src/rooms.ts";
import {
  importsOf,
  isTestCode,
  repositoryFiles,
  repositoryPaths,
  rootDirectory,
  withoutComments,
} from "../src/sources.ts";

const sources = repositoryFiles((path) => path.endsWith(".ts"));

/** The package that a specifier names: `node` for Node's own, undefined for a relative path. */
function packageOf(specifier: string): string | undefined {
  if (specifier.startsWith(".")) return undefined;
  if (specifier.startsWith("node:")) return "node";
  const parts = specifier.split("/");
  return specifier.startsWith("@") ? parts.slice(0, 2).join("/") : parts[0];
}

function manifestOf(folder: string): { name: string; dependencies: string[]; devDependencies: string[] } {
  const manifest: unknown = JSON.parse(readFileSync(join(rootDirectory, folder, "package.json"), "utf8"));
  const keysOf = (value: unknown): string[] => (typeof value === "object" && value !== null ? Object.keys(value) : []);
  if (typeof manifest !== "object" || manifest === null) return { name: "", dependencies: [], devDependencies: [] };
  return {
    name: "name" in manifest && typeof manifest.name === "string" ? manifest.name : "",
    dependencies: "dependencies" in manifest ? keysOf(manifest.dependencies) : [],
    devDependencies: "devDependencies" in manifest ? keysOf(manifest.devDependencies) : [],
  };
}

test("the reader of imports sees every form of import", () => {
  const text = [
    'import { a } from "one";',
    'import type { b } from "two";',
    'export * from "three";',
    'import "four";',
    'const five = await import("five");',
    '// import { no } from "comment";',
    'import {\n  c,\n  d,\n} from "six";',
  ].join("\n");
  expect(importsOf({ path: "x.ts", text }).toSorted()).toEqual(["five", "four", "one", "six", "three", "two"]);
});

test("every package has its room in the table", () => {
  const folders = repositoryPaths()
    .filter((path) => path.endsWith("/package.json"))
    .map((path) => path.slice(0, -"/package.json".length));
  const known = Object.values(rooms).map((room) => room.folder);
  // Generated code, and measurements that look at every layer from outside.
  expect(folders.filter((folder) => !known.includes(folder)).toSorted()).toEqual(["bench", "protocol"]);
});

describe.each(Object.entries(rooms))("%s", (name, { folder, imports, onlyInNode }) => {
  const own = sources.filter((file) => file.path.startsWith(`${folder}/`));
  const isOnlyInNode = (path: string): boolean => onlyInNode !== undefined && path.startsWith(onlyInNode);

  test("has sources that this test reads", () => {
    expect(own.length).toBeGreaterThan(0);
    expect(manifestOf(folder).name).toBe(name);
  });

  test("imports only what its layer may", () => {
    const crossings = own.flatMap((file) => {
      const runtime = isOnlyInNode(file.path) ? ["node"] : [];
      const allowed = isTestCode(file.path) ? [...imports, ...testImports] : [...imports, ...runtime];
      return importsOf(file)
        .filter((specifier) => {
          const imported = packageOf(specifier);
          return imported !== undefined && imported !== name && !allowed.includes(imported);
        })
        .map((specifier) => `${file.path} imports ${specifier}`);
    });
    expect(crossings).toEqual([]);
  });

  test("reaches no other package by a relative path", () => {
    const escapes = own.flatMap((file) =>
      importsOf(file)
        .filter((specifier) => specifier.startsWith("."))
        .filter((specifier) => !join(file.path, "..", specifier).startsWith(`${folder}/`))
        .map((specifier) => `${file.path} imports ${specifier}`),
    );
    expect(escapes).toEqual([]);
  });

  test("what needs Node is imported by nothing that runs elsewhere", () => {
    const leaks = own
      .filter((file) => !isTestCode(file.path) && !isOnlyInNode(file.path))
      .flatMap((file) =>
        importsOf(file)
          .filter((specifier) => specifier.startsWith(".") && isOnlyInNode(join(file.path, "..", specifier)))
          .map((specifier) => `${file.path} imports ${specifier}`),
      );
    expect(leaks).toEqual([]);
  });

  test("declares only dependencies that its layer may have", () => {
    const manifest = manifestOf(folder);
    expect(manifest.dependencies.filter((dependency) => !imports.includes(dependency))).toEqual([]);
    const testing = [...imports, ...testImports];
    expect(manifest.devDependencies.filter((dependency) => !testing.includes(dependency))).toEqual([]);
  });
});

test("core names no engine, database, protocol or runtime", () => {
  const foreign = /\b(sqlite|postgres\w*|https?|fastify|qmp|virtio\w*|node:\w+|process\.\w+|Buffer)\b/i;
  const named = sources
    .filter((file) => file.path.startsWith("packages/core/src/") && !isTestCode(file.path))
    .flatMap((file) =>
      withoutComments(file.text)
        .split("\n")
        .flatMap((line, index) => (foreign.test(line) ? [`${file.path}:${String(index + 1)} ${line.trim()}`] : [])),
    );
  expect(named).toEqual([]);
});

import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";

/** The checkout's root, absolute. */
export const rootDirectory = dirname(dirname(import.meta.dirname));

const generatedOrFetched = new Set(["node_modules", ".git", ".tools", ".build", "target", "gen", "results"]);

const stringLiteral = /"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\.)*`/g;
const stringOrComment = new RegExp(`${stringLiteral.source}|/\\*[\\s\\S]*?\\*/|//[^\\n]*`, "g");

/** One file of the repository; `path` is relative to the root, with `/`. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

/** Paths of all files that belong to the repository, without what is fetched or generated; sorted. */
export function repositoryPaths(): readonly string[] {
  return walk(rootDirectory)
    .map((path) => relative(rootDirectory, path))
    .toSorted();
}

/** The files whose path `matches`. */
export function repositoryFiles(matches: (path: string) => boolean): readonly SourceFile[] {
  return repositoryPaths()
    .filter(matches)
    .map((path) => ({ path, text: readFileSync(join(rootDirectory, path), "utf8") }));
}

/** Tests, exams of ports, and what only they use. */
export function isTestCode(path: string): boolean {
  return /\.test\.ts$|-exam\.ts$|\/testing\//.test(path);
}

/** TypeScript that runs in production: no tests, no development-only packages. */
export function isProductCode(path: string): boolean {
  return (
    /^(packages\/(?!testkit\/)[a-z-]+|apps\/[a-z-]+|sdk\/typescript)\/src\/.*\.ts$/.test(path) && !isTestCode(path)
  );
}

/** Source text without comments; string contents stay. Lines keep their numbers. */
export function withoutComments(text: string): string {
  return text.replace(stringOrComment, (found) => (found.startsWith("/") ? found.replace(/[^\n]/g, "") : found));
}

/** Module specifiers that a file imports or re-exports, also for types only and dynamically. */
export function importsOf(file: SourceFile): readonly string[] {
  const code = withoutComments(file.text);
  return [...code.matchAll(stringLiteral)].flatMap((literal) => {
    const before = code.slice(Math.max(0, literal.index - 40), literal.index);
    return /(\bfrom|^\s*import|[;\n]\s*import|\bimport\()\s*$/.test(before) ? [literal[0].slice(1, -1)] : [];
  });
}

function walk(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    if (generatedOrFetched.has(entry.name)) return [];
    const path = join(directory, entry.name);
    if (entry.isDirectory()) return walk(path);
    return entry.isFile() ? [path] : [];
  });
}

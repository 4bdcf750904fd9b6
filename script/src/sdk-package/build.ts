import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { InstaVmError, version } from "@instavm/contract";
import { rootDirectory } from "../sources.ts";
import { runProgram } from "../testing/run-program.ts";

const emittedDirectory = join(rootDirectory, ".build/sdk/emitted");
const sourceDirectory = join(rootDirectory, "sdk/typescript");

/** Where the package lies that can be published. */
export const packageDirectory = join(rootDirectory, ".build/sdk/instavm");

/**
 * Builds the TypeScript SDK as a package of its own: compiled, with types, and with the contract inside, which is no package
 * that anybody could install.
 */
export async function buildSdkPackage(): Promise<void> {
  for (const directory of [emittedDirectory, packageDirectory]) rmSync(directory, { recursive: true, force: true });
  const compiled = await runProgram(["tsc", "-p", join(sourceDirectory, "tsconfig.build.json")]);
  if (compiled.exitCode !== 0) {
    throw new InstaVmError("internal", `The SDK does not compile:\n${compiled.output}`, { next: "Type `tsc -b`." });
  }
  const dist = join(packageDirectory, "dist");
  adopt(join(emittedDirectory, "sdk/typescript/src"), dist);
  adopt(join(emittedDirectory, "packages/contract/src"), join(dist, "contract"));
  cpSync(join(rootDirectory, "LICENSE"), join(packageDirectory, "LICENSE"));
  cpSync(join(sourceDirectory, "README.md"), join(packageDirectory, "README.md"));
  writeFileSync(join(packageDirectory, "package.json"), `${JSON.stringify(manifest(), null, 2)}\n`);
  // So that it can be imported where it lies; no archive holds it.
  mkdirSync(join(packageDirectory, "node_modules"));
  symlinkSync(join(sourceDirectory, "node_modules/zod"), join(packageDirectory, "node_modules/zod"));
}

/** Copies compiled files with imports that lead to each other: the compiler leaves those of declarations and packages as they are. */
function adopt(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const name of readdirSync(from)) {
    const text = readFileSync(join(from, name), "utf8")
      .replaceAll('"@instavm/contract"', '"./contract/index.js"')
      .replaceAll(/(from|import\() ?"(\.\/[\w./-]+)\.ts"/g, (_, keyword: string, path: string) =>
        keyword === "from" ? `from "${path}.js"` : `import("${path}.js"`,
      );
    writeFileSync(join(to, name), text);
  }
}

function manifest(): Record<string, unknown> {
  return {
    name: "instavm",
    version,
    description: "Run code in microVMs of your own: client of an InstaVM server",
    keywords: ["sandbox", "microvm", "code-interpreter", "agents"],
    license: "Apache-2.0",
    type: "module",
    sideEffects: false,
    engines: { node: ">=22" },
    files: ["dist"],
    exports: {
      ".": { types: "./dist/index.d.ts", default: "./dist/index.js" },
      "./node": { types: "./dist/node.d.ts", default: "./dist/node.js" },
      "./package.json": "./package.json",
    },
    dependencies: { zod: `^${installedVersion("zod")}` },
  };
}

function installedVersion(name: string): string {
  const text = readFileSync(join(sourceDirectory, "node_modules", name, "package.json"), "utf8");
  const found = /"version":\s*"([^"]+)"/.exec(text)?.[1];
  if (found !== undefined) return found;
  throw new InstaVmError("internal", `The installed ${name} says no version.`, { next: "Type `pnpm install`." });
}

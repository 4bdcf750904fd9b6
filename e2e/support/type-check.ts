import { execFile } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Scratch } from "./scratch.ts";
import { repository } from "./shell-user.ts";

const options = {
  lib: ["ES2024", "ESNext.Disposable", "ESNext.Error", "DOM", "DOM.AsyncIterable"],
  types: ["node"],
  typeRoots: [join(repository, "node_modules/@types")],
  noEmit: true,
  emitDeclarationOnly: false,
  composite: false,
};

/** What the compiler, as strict as for the project's own code, says of modules that use the TypeScript client: no text when it is content. */
export async function typeErrors(modules: readonly string[]): Promise<string> {
  using scratch = new Scratch();
  const { directory } = scratch;
  mkdirSync(join(directory, "node_modules"));
  symlinkSync(join(repository, "sdk/typescript"), join(directory, "node_modules/instavm"));
  writeFileSync(join(directory, "package.json"), '{ "type": "module" }');
  const project = { extends: join(repository, "tsconfig.base.json"), compilerOptions: options, include: ["*.ts"] };
  writeFileSync(join(directory, "tsconfig.json"), JSON.stringify(project));
  for (const [index, text] of modules.entries()) writeFileSync(join(directory, `module-${String(index)}.ts`), text);
  const tsc = join(repository, "node_modules/.bin/tsc");
  return await new Promise((resolve) => {
    execFile(tsc, ["-p", directory], { timeout: 120_000 }, (error, stdout, stderr) => {
      resolve(error === null ? "" : `${error.message}\n${stdout}${stderr}`);
    });
  });
}

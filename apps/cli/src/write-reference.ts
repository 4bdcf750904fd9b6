import { writeFileSync } from "node:fs";
import { makeProgram } from "./program.ts";
import { commandReference } from "./reference.ts";

const path = new URL("../../../docs/cli.md", import.meta.url);
writeFileSync(path, commandReference(makeProgram(new AbortController().signal).command));

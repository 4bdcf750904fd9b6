import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeResource } from "@instavm/process";

/** A directory of a test's own, removed with the test. */
export async function scratch(): Promise<{ readonly path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "instavm-images-"));
  return makeResource({ path }, () => rm(path, { recursive: true, force: true }));
}

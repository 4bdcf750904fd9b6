import { randomBytes } from "node:crypto";
import { mkdtemp, readdir, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defaultShape, vmIdSchema, type VmId } from "@instavm/contract";
import type { AgentSession, Engine, Image, Log, RunningMachine, StateFiles, VmDirectories } from "@instavm/core";
import { GuestLink } from "@instavm/guest-link";
import { defaultCacheDirectory, openImageStore, openVmDirectories } from "@instavm/images";
import {
  createQemuEngine,
  ensureLauncher,
  findQemu,
  forkLibraryPath,
  launcherBinaryPath,
  tscProgramPath,
} from "@instavm/vmm";
import { endLauncher } from "./launcher-end.ts";

const cacheDirectory = process.env["INSTAVM_CACHE_DIR"] ?? defaultCacheDirectory;
const targetDirectory = new URL("../../target/release/", import.meta.url).pathname;
const silent: Log = { info: () => {}, warn: console.warn, error: console.error };

/** The parts below the HTTP server, to time them one by one. */
export interface OwnHost extends AsyncDisposable {
  readonly engine: Engine;
  readonly link: GuestLink;
  readonly image: Image;
  readonly directories: VmDirectories;
  readonly stateDir: string;
}

/** Opens engine, image and launcher on a state directory that disposing removes. */
export async function openOwnHost(): Promise<OwnHost> {
  const stateDir = await mkdtemp(join(tmpdir(), "instavm-bench-"));
  const qemuPath = await findQemu();
  const image = await openImageStore({ cacheDirectory, agentPath: join(targetDirectory, "instavm-agent") }).base();
  const launcher = await ensureLauncher({
    stateDir,
    binaryPath: launcherBinaryPath(),
    programs: [qemuPath],
    forkLibraryPath: forkLibraryPath(),
    readRoots: [cacheDirectory],
    log: silent,
  });
  const engine = createQemuEngine({
    launcher,
    tscProgramPath: tscProgramPath(),
    cacheDir: cacheDirectory,
    log: silent,
    qemuPath,
  });
  return {
    engine,
    link: new GuestLink(),
    image,
    directories: await openVmDirectories({ stateDirectory: stateDir }),
    stateDir,
    async [Symbol.asyncDispose]() {
      launcher.close();
      await endLauncher(stateDir);
      await rm(stateDir, { recursive: true, force: true });
    },
  };
}

/** A fresh VM id. */
export function someVmId(): VmId {
  return vmIdSchema.parse(`b${randomBytes(16).toString("hex").slice(0, 19)}`);
}

/** Prints 42 in the guest's Python; rejects on anything else. */
export async function printsFortyTwo(session: AgentSession): Promise<void> {
  const call = session.runCode({ language: "python", code: "print(6*7)" }, { timeoutMs: 60_000 });
  let printed = "";
  for await (const event of call) {
    if (event.type === "stdout") printed += Buffer.from(event.data).toString();
  }
  await call.ended;
  if (printed !== "42\n") throw new Error(`the guest printed ${JSON.stringify(printed)}, expected "42\\n"`);
}

/** Boots the base image from nothing, as a template is begun. */
export async function coldBoot(host: OwnHost): Promise<{ readonly machine: RunningMachine; readonly vmId: VmId }> {
  const vmId = someVmId();
  const directory = await host.directories.create(vmId);
  const machine = await host.engine.boot({
    vmId,
    directory,
    shape: defaultShape,
    rootfsPath: host.image.boot.rootfsPath,
    boot: host.image.boot,
    memoryPath: join(directory, "mem"),
    blankDiskPath: host.image.blankDiskPath,
  });
  return { machine, vmId };
}

/** The files of the default shape's newest template; a server must have made one. */
export async function newestTemplate(): Promise<StateFiles> {
  const root = join(cacheDirectory, "templates");
  const found: { readonly directory: string; readonly madeAtMs: number }[] = [];
  for (const name of await readdir(root)) {
    const manifest = join(root, name, "manifest.json");
    const text = await readFile(manifest, "utf8").catch(() => "");
    if (
      !text.includes(`"memoryMib": ${defaultShape.memoryMib}`) &&
      !text.includes(`"memoryMib":${defaultShape.memoryMib}`)
    )
      continue;
    found.push({ directory: join(root, name), madeAtMs: (await stat(manifest)).mtimeMs });
  }
  const newest = found.toSorted((a, b) => b.madeAtMs - a.madeAtMs)[0];
  if (newest === undefined) throw new Error(`no template of the default shape in ${root}: start a server once`);
  const { directory } = newest;
  return { memoryPath: join(directory, "mem"), statePath: join(directory, "state"), diskPath: join(directory, "disk") };
}

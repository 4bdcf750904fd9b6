import type { AgentLink, Check, Engine, ImageStore, Log, TemplateStore, VmDirectories } from "@instavm/core";
import { GuestLink } from "@instavm/guest-link";
import { imageChecks, openImageStore, openTemplateStore, openVmDirectories } from "@instavm/images";
import {
  createQemuEngine,
  engineChecks,
  ensureLauncher,
  findQemu,
  launcherBinaryPath,
  launcherChecks,
} from "@instavm/vmm";
import type { Settings } from "../settings/settings.ts";
import { programs } from "./programs.ts";

/** What the domain needs of this machine; disposing leaves launcher and VMs running. */
export interface Adapters extends AsyncDisposable {
  readonly engine: Engine;
  readonly link: AgentLink;
  readonly images: ImageStore;
  readonly templates: TemplateStore;
  readonly directories: VmDirectories;
}

/** Opens them in the order in which something can be missing. Throws `host_setup`, `image_missing` or `launcher_unreachable`. */
export async function openAdapters(settings: Settings, log: Log, signal: AbortSignal): Promise<Adapters> {
  const { stateDir, cacheDir: cacheDirectory } = settings;
  const qemuPath = await findQemu();
  const images = openImageStore({ cacheDirectory, agentPath: programs.agent });
  await images.base({ signal });
  // Before the launcher, which would stay for a while when the directory turns out to be unusable.
  const directories = await openVmDirectories({ stateDirectory: stateDir });
  const launcher = await ensureLauncher(
    {
      stateDir,
      binaryPath: launcherBinaryPath(),
      forkLibraryPath: programs.forkLibrary,
      programs: [qemuPath],
      readRoots: [cacheDirectory],
      log,
    },
    { signal },
  );
  return {
    engine: createQemuEngine({
      launcher,
      tscProgramPath: programs.tscKhz,
      cacheDir: cacheDirectory,
      log,
      qemuPath,
    }),
    link: new GuestLink(),
    images,
    templates: openTemplateStore({ cacheDirectory, log }),
    directories,
    [Symbol.asyncDispose]: async () => launcher.close(),
  };
}

/** The prerequisites of all adapters. */
export async function adapterChecks({ stateDir, cacheDir }: Settings): Promise<readonly Check[]> {
  const checks = await Promise.all([
    engineChecks({ tscProgramPath: programs.tscKhz }),
    launcherChecks({ stateDir, binaryPath: launcherBinaryPath() }),
    imageChecks({ cacheDirectory: cacheDir }),
  ]);
  return checks.flat();
}

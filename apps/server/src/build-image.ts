import { existsSync } from "node:fs";
import { buildBaseImage, formatProgress } from "@instavm/images";
import type { Settings } from "./settings/settings.ts";
import { programs } from "./wiring/programs.ts";

/** What a build is started with. */
export interface BuildImageOptions {
  readonly settings: Settings;
  /** Aborts the build; nothing half-made is left. */
  readonly stop: AbortSignal;
  readonly print: (line: string) => void;
}

/** Builds what is missing of the base image, with a line for each step; all but the initrd while there is no agent yet. */
export async function buildImage({ settings, stop, print }: BuildImageOptions): Promise<void> {
  const image = await buildBaseImage({
    cacheDirectory: settings.cacheDir,
    ...(existsSync(programs.agent) ? { agentPath: programs.agent } : {}),
    signal: stop,
    onProgress: (progress) => print(formatProgress(progress)),
  });
  const built = image.rootWasBuilt ? "built" : "there already";
  if (image.initrdPath === undefined) print("initrd left out: the guest agent is not built; script/setup does both");
  print(`base image ${built}: ${Math.round(image.rootfsBytes / 2 ** 20)} MiB in ${image.rootfsPath}`);
}

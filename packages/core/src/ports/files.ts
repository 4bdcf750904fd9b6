import type { Shape, VmId } from "@instavm/contract";
import type { BootFiles, StateFiles } from "./engine.ts";
import type { Waiting } from "./waiting.ts";

/** A read-only root filesystem with what boots it. */
export interface Image {
  /** Hex SHA-256 over recipe, builder, kernel and agent: other content, other digest. */
  readonly digest: string;
  readonly name: string;
  readonly boot: BootFiles;
  /** An empty, formatted disk (vdb) that each template's disk starts from. */
  readonly blankDiskPath: string;
}

export interface ImageStore {
  /** The built image; throws `image_missing` when it has not been built. */
  base(waiting?: Waiting): Promise<Image>;
}

/** What must be equal for a saved state to be usable. */
export interface TemplateKey {
  readonly imageDigest: string;
  readonly engineFingerprint: string;
  readonly shape: Shape;
  /** What was warmed; changes when the warm-up does. */
  readonly warmth: string;
}

export interface Template {
  readonly key: TemplateKey;
  readonly files: StateFiles;
  readonly rootfsPath: string;
}

/** A template in the making: `commit` makes it visible at once and whole, `discard` leaves nothing. */
export interface TemplateDraft {
  /** A directory of its own, on the same filesystem as the store. */
  readonly directory: string;
  readonly files: StateFiles;
  /** Free bytes of the filesystem that it is on. */
  freeBytes(): Promise<number>;
  commit(): Promise<Template>;
  discard(): Promise<void>;
}

export interface TemplateStore {
  /** A manifest that does not fit or misses a file counts as absent (and is said in the log). */
  find(key: TemplateKey, rootfsPath: string): Promise<Template | undefined>;
  draft(key: TemplateKey, rootfsPath: string): Promise<TemplateDraft>;
  /** Removes drafts that a killed server left. */
  sweep(): Promise<number>;
}

/** The directories of VMs: `<state-dir>/vms/<vm id>`. */
export interface VmDirectories {
  create(vmId: VmId): Promise<string>;
  path(vmId: VmId): string;
  list(): Promise<readonly VmId[]>;
  /** Idempotent. */
  remove(vmId: VmId): Promise<void>;
}

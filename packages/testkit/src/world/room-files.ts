import type { VmId } from "@instavm/contract";
import { InstaVmError } from "@instavm/contract";
import type {
  Image,
  ImageStore,
  StateFiles,
  Template,
  TemplateDraft,
  TemplateKey,
  TemplateStore,
  VmDirectories,
  Waiting,
} from "@instavm/core";
import type { Faults } from "../faults.ts";
import { blankDiskPath, type MachineRoom } from "./machine-room.ts";

/** The directories of VMs, as names in a `MachineRoom`. */
export class RoomDirectories implements VmDirectories {
  readonly #room: MachineRoom;
  readonly #faults: Faults;

  constructor(room: MachineRoom, faults: Faults) {
    this.#room = room;
    this.#faults = faults;
  }

  create(vmId: VmId): Promise<string> {
    return this.#faults.call("directories.create", undefined, () => {
      this.#room.directories.add(vmId);
      return this.path(vmId);
    });
  }

  path(vmId: VmId): string {
    return `/room/vms/${vmId}`;
  }

  list(): Promise<readonly VmId[]> {
    return this.#faults.call("directories.list", undefined, () => [...this.#room.directories]);
  }

  remove(vmId: VmId): Promise<void> {
    return this.#faults.call("directories.remove", undefined, () => {
      this.#room.directories.delete(vmId);
    });
  }
}

/** One image, there as long as the room says so. */
export class RoomImages implements ImageStore {
  readonly #room: MachineRoom;
  readonly #faults: Faults;

  constructor(room: MachineRoom, faults: Faults) {
    this.#room = room;
    this.#faults = faults;
  }

  base(waiting?: Waiting): Promise<Image> {
    return this.#faults.call("images.base", waiting?.signal, () => {
      if (!this.#room.hasImage) throw new InstaVmError("image_missing", "the base image has not been built");
      return {
        digest: "d1",
        name: "base",
        boot: { kernelPath: "/room/vmlinuz", initrdPath: "/room/initrd", rootfsPath: "/room/rootfs" },
        blankDiskPath,
      };
    });
  }
}

/** Templates whose files are entries of a `MachineRoom`. */
export class RoomTemplates implements TemplateStore {
  readonly #room: MachineRoom;
  readonly #faults: Faults;

  constructor(room: MachineRoom, faults: Faults) {
    this.#room = room;
    this.#faults = faults;
  }

  find(key: TemplateKey): Promise<Template | undefined> {
    return this.#faults.call("templates.find", undefined, () => {
      const template = this.#room.templates.get(JSON.stringify(key));
      return template !== undefined && this.#isWhole(template.files) ? template : undefined;
    });
  }

  draft(key: TemplateKey, rootfsPath: string): Promise<TemplateDraft> {
    return this.#faults.call("templates.draft", undefined, () => {
      const directory = this.#room.newDraftDirectory();
      const files = filesIn(directory);
      this.#room.drafts.add(directory);
      return {
        directory,
        files,
        freeBytes: () => this.#faults.call("draft.freeBytes", undefined, () => this.#room.freeBytes),
        commit: () =>
          this.#faults.call("draft.commit", undefined, () => {
            if (!this.#isWhole(files)) throw new Error("a template was committed that is not whole");
            const template = { key, files, rootfsPath };
            this.#room.drafts.delete(directory);
            this.#room.templates.set(JSON.stringify(key), template);
            return template;
          }),
        discard: () => this.#faults.call("draft.discard", undefined, () => this.#discard(directory)),
      };
    });
  }

  sweep(): Promise<number> {
    return this.#faults.call("templates.sweep", undefined, () => {
      const swept = this.#room.drafts.size;
      for (const directory of this.#room.drafts) this.#discard(directory);
      return swept;
    });
  }

  #discard(directory: string): void {
    this.#room.drafts.delete(directory);
    for (const path of pathsOf(filesIn(directory))) this.#room.files.delete(path);
  }

  #isWhole(files: StateFiles): boolean {
    return pathsOf(files).every((path) => this.#room.files.has(path));
  }
}

function filesIn(directory: string): StateFiles {
  return {
    memoryPath: `${directory}/mem`,
    statePath: `${directory}/state`,
    diskPath: `${directory}/disk`,
  };
}

function pathsOf({ memoryPath, statePath, diskPath }: StateFiles): readonly string[] {
  return [memoryPath, statePath, diskPath];
}

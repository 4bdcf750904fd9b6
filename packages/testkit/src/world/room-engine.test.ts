import { InstaVmError, type VmId } from "@instavm/contract";
import type { RunningMachine } from "@instavm/core";
import { type EngineExamRoom, examineEngine, type ExamGuest } from "../engine-exam.ts";
import { Faults } from "../faults.ts";
import { ManualClock } from "../manual-clock.ts";
import { sampleVmId } from "../samples.ts";
import type { GuestState } from "./guest-state.ts";
import { blankDiskPath, MachineRoom } from "./machine-room.ts";
import { RoomEngine } from "./room-engine.ts";

examineEngine({ name: "of a pretend host", manyClones: 20, openRoom: async () => openRoom() });

function openRoom(): EngineExamRoom {
  const room = new MachineRoom(new ManualClock());
  room.fork = { isPossible: true };
  let made = 0;
  return {
    openEngine: async () => new RoomEngine(room, new Faults()),
    boot: { kernelPath: "/room/vmlinuz", initrdPath: "/room/initrd", rootfsPath: "/room/rootfs" },
    blankDiskPath,
    makeVm: async () => {
      const vmId = sampleVmId((made += 1));
      room.directories.add(vmId);
      return { vmId, directory: `/room/vms/${vmId}` };
    },
    makeStateFiles: async () => {
      const directory = room.newDraftDirectory();
      return {
        memoryPath: `${directory}/mem`,
        statePath: `${directory}/state`,
        diskPath: `${directory}/disk`,
        pagesPath: `${directory}/pages`,
      };
    },
    exists: async (path) => room.files.has(path),
    leavePaused: async (machine) => void (await machine.pause()),
    killProcess: async ({ vmId }) => room.kill(vmId),
    guest: guestsOf(room),
    close: async () => {},
  };
}

function guestsOf(room: MachineRoom): ExamGuest {
  const stateOf = (vmId: VmId): GuestState => room.guest(vmId).state;
  return {
    ready: async ({ vmId }: RunningMachine) => void stateOf(vmId),
    put: async ({ vmId }, place, value) => {
      if (place === "memory") stateOf(vmId).variables.set("value", value);
      else stateOf(vmId).files.set("/value", Buffer.from(value));
    },
    get: async ({ vmId }, place) => {
      const { variables, files } = stateOf(vmId);
      const value = place === "memory" ? variables.get("value") : files.get("/value")?.toString();
      if (value === undefined) throw new InstaVmError("file_not_found", `the guest keeps no value in its ${place}`);
      return value;
    },
    crash: async ({ vmId }) => room.guest(vmId).crash(),
  };
}

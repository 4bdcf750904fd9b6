import {
  createPlatform,
  defaultSettings,
  type Platform,
  type PlatformPorts,
  type PlatformSettings,
} from "@instavm/core";
import { settle } from "../eventually.ts";
import { Faults } from "../faults.ts";
import { ManualClock } from "../manual-clock.ts";
import { RecordingLog } from "../recording-log.ts";
import { SeededChance } from "../seeded-chance.ts";
import { MachineRoom } from "./machine-room.ts";
import { openMemoryRecords, RecordTables } from "./memory-records.ts";
import { RoomEngine } from "./room-engine.ts";
import { RoomDirectories, RoomImages, RoomTemplates } from "./room-files.ts";
import { RoomLink } from "./room-link.ts";

/** What is left of a world's VMs. */
export interface Remains {
  readonly processes: number;
  readonly directories: number;
  readonly openSessions: number;
  readonly drafts: number;
  readonly liveSessionRecords: number;
  readonly liveVmRecords: number;
}

/** Nothing was leaked. */
export const nothing: Remains = {
  processes: 0,
  directories: 0,
  openSessions: 0,
  drafts: 0,
  liveSessionRecords: 0,
  liveVmRecords: 0,
};

/** One server's domain in a world, with the faults of its ports. */
export interface FakeServer {
  readonly platform: Platform;
  readonly ports: PlatformPorts;
  readonly faults: Faults;
  /** Ends it as `kill -9` does: its links drop, nothing is put in order, the VMs run on. */
  kill(): Promise<void>;
}

/** A pretend host with all that the domain's ports need. Servers come and go; machines, files and records stay. */
export class FakeWorld implements AsyncDisposable {
  readonly clock = new ManualClock();
  readonly log = new RecordingLog();
  readonly room = new MachineRoom(this.clock);
  readonly tables = new RecordTables();
  readonly #chance = new SeededChance();
  readonly #servers: FakeServer[] = [];

  /** A server on this host, not started; without a pool unless the settings say otherwise. */
  server(change: (settings: PlatformSettings) => PlatformSettings = (settings) => settings): FakeServer {
    const faults = new Faults();
    const ports = this.#ports(faults);
    const withoutPool = { ...defaultSettings, pool: { ...defaultSettings.pool, size: 0 } };
    const platform = createPlatform(ports, change(withoutPool));
    const kill = async (): Promise<void> => {
      faults.die();
      this.room.dropSessions();
      await settle();
    };
    const server = { platform, ports, faults, kill };
    this.#servers.push(server);
    return server;
  }

  /** A server that is started. */
  async startedServer(change?: (settings: PlatformSettings) => PlatformSettings): Promise<FakeServer> {
    const server = this.server(change);
    await server.platform.start();
    return server;
  }

  /** Counts what is left now. */
  remains(): Remains {
    const isLive = (record: { readonly endedAtMs: number | undefined }): boolean => record.endedAtMs === undefined;
    return {
      processes: this.room.processes.size,
      directories: this.room.directories.size,
      openSessions: this.room.openSessions,
      drafts: this.room.drafts.size,
      liveSessionRecords: [...this.tables.sessions.values()].filter(isLive).length,
      liveVmRecords: [...this.tables.vms.values()].filter(isLive).length,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const alive = this.#servers.filter(({ faults }) => !faults.isDead);
    await Promise.all(
      alive.map(({ platform, faults }) => {
        faults.clear();
        return platform.close();
      }),
    );
  }

  #ports(faults: Faults): PlatformPorts {
    const { room, log } = this;
    const clock = {
      nowMs: () => this.clock.nowMs(),
      monotonicMs: () => this.clock.monotonicMs(),
      after: (delayMs: number, callback: () => void) =>
        this.clock.after(delayMs, () => {
          if (!faults.isDead) callback();
        }),
    };
    return {
      engine: new RoomEngine(room, faults),
      link: new RoomLink(room, faults, this.clock),
      images: new RoomImages(room, faults),
      templates: new RoomTemplates(room, faults),
      directories: new RoomDirectories(room, faults),
      records: openMemoryRecords(this.tables, faults),
      clock,
      chance: this.#chance,
      log,
    };
  }
}

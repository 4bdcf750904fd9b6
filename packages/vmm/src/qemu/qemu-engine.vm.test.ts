import { access, mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RunningMachine } from "@instavm/core";
import { sleep } from "@instavm/process";
import { examineEngine, RecordingLog, sampleVmId } from "@instavm/testkit";
import type { EngineExamRoom, ExamGuest, Place } from "@instavm/testkit";
import { forkLibraryPath, launcherBinaryPath } from "../launcher/binary-path.ts";
import { ensureLauncher } from "../launcher/launcher-client.ts";
import { qmpSocketPath } from "./machine.ts";
import { stopVcpus } from "./monitor-commands.ts";
import { createQemuEngine } from "./qemu-engine.ts";
import { findQemu } from "./qemu-program.ts";
import { connectQmp } from "./qmp-connection.ts";
import { findTestImage } from "./testing/boot-files.ts";
import { greet, runLastScript, runScript } from "./testing/guest-session.ts";

examineEngine({ name: "qemu", openRoom, manyClones: 8 });

/** A state directory with a launcher of its own, and the built image. */
async function openRoom(): Promise<EngineExamRoom> {
  const image = await findTestImage();
  const stateDir = await mkdtemp(join(tmpdir(), "instavm-exam-"));
  const vmDirectory = (number: number): string => join(stateDir, "vms", sampleVmId(number));
  const qemuPath = process.env["INSTAVM_TEST_QEMU"] ?? (await findQemu());
  const log = new RecordingLog();
  const readRoots = ["/"];
  const clients = new AsyncDisposableStack();
  let vms = 0;
  return {
    ...image,
    async openEngine() {
      const options = {
        stateDir,
        binaryPath: launcherBinaryPath(),
        programs: [qemuPath],
        readRoots,
        log,
        forkLibraryPath: forkLibraryPath(),
      } as const;
      const launcher = clients.use(await ensureLauncher(options));
      return createQemuEngine({ launcher, qemuPath, cacheDir: join(stateDir, "cache"), log });
    },
    async makeVm() {
      vms += 1;
      const number = vms;
      const directory = vmDirectory(number);
      await mkdir(directory, { recursive: true });
      return { vmId: sampleVmId(number), directory };
    },
    async makeStateFiles() {
      const directory = await mkdtemp(join(stateDir, "template-"));
      return {
        memoryPath: join(directory, "memory"),
        statePath: join(directory, "state"),
        diskPath: join(directory, "disk"),
        pagesPath: join(directory, "pages"),
      };
    },
    exists: (path) =>
      access(path).then(
        () => true,
        () => false,
      ),
    async leavePaused(machine) {
      using monitor = await connectQmp(qmpSocketPath(join(stateDir, "vms", machine.vmId)));
      await stopVcpus(monitor);
    },
    async killProcess(machine) {
      process.kill(machine.pid, "SIGKILL");
      await machine.ended;
    },
    guest,
    async close() {
      await clients.disposeAsync();
      await endLauncher(stateDir);
      await rm(stateDir, { recursive: true, force: true });
    },
  };
}

const files = { memory: "/exam-memory/value", disk: "/exam-disk" } as const satisfies Record<Place, string>;

const guest: ExamGuest = {
  async ready(machine) {
    await greet(machine);
  },
  async put(machine, place, value) {
    const mount = "mountpoint -q /exam-memory || { mkdir -p /exam-memory && mount -t tmpfs exam /exam-memory; }";
    await runScript(machine, `${mount}; printf '%s' '${value}' > ${files[place]} && sync`);
  },
  get: (machine: RunningMachine, place: Place) => runScript(machine, `cat ${files[place]}`),
  crash: (machine) => runLastScript(machine, "echo c > /proc/sysrq-trigger"),
};

/** A launcher outlives its clients on purpose; this one's directory goes. */
async function endLauncher(stateDir: string): Promise<void> {
  const pid = Number(await readFile(join(stateDir, "launcher.lock"), "utf8"));
  process.kill(pid, "SIGTERM");
  for (;;) {
    try {
      process.kill(pid, 0);
    } catch {
      return;
    }
    await sleep(20);
  }
}

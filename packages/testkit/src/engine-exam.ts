import type { VmId } from "@instavm/contract";
import { InstaVmError, vmIdSchema } from "@instavm/contract";
import type { BootFiles, CloneConfig, Engine, RunningMachine, StateFiles } from "@instavm/core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

/** Where a guest keeps a value. */
export type Place = "memory" | "disk";

/** What a caller of the exam knows about its guests and its host. */
export interface EngineExamRoom {
  /** A new engine on the same host, as after a restart of the server. */
  openEngine(): Promise<Engine>;
  readonly boot: BootFiles;
  readonly blankDiskPath: string;
  /** A VM's id and its directory, which is there. */
  makeVm(): Promise<{ readonly vmId: VmId; readonly directory: string }>;
  /** Paths for a saved state; no file has them yet. */
  makeStateFiles(): Promise<Required<StateFiles>>;
  exists(path: string): Promise<boolean>;
  /** Pauses a machine and lets go of it, as a server does that dies meanwhile. */
  leavePaused(machine: RunningMachine): Promise<void>;
  /** Ends a process from outside, as an administrator does. */
  killProcess(machine: RunningMachine): Promise<void>;
  readonly guest: ExamGuest;
  /** Called once, at the end. */
  close(): Promise<void>;
}

/** How a test sees that a guest runs, and what it remembers. Each call has a deadline of its own. */
export interface ExamGuest {
  /** Resolves when the guest is up and can be paused and saved. */
  ready(machine: RunningMachine): Promise<void>;
  put(machine: RunningMachine, place: Place, value: string): Promise<void>;
  get(machine: RunningMachine, place: Place): Promise<string>;
  /** Makes the guest's kernel give up. */
  crash(machine: RunningMachine): Promise<void>;
}

/** The engine under examination. */
export interface EngineExam {
  readonly name: string;
  openRoom(): Promise<EngineExamRoom>;
  /** Clones that the chapter about many starts at once. */
  readonly manyClones: number;
}

const shape = { vcpuCount: 2, memoryMib: 512 } as const;

/** Declares the tests that every implementation of the engine port passes. Call it at the top of a test file. */
export function examineEngine(exam: EngineExam): void {
  describe(`the engine ${exam.name}`, () => {
    const desk = new Desk(exam);
    beforeAll(async () => await desk.open());
    afterAll(async () => await desk.close());

    examineFacts(desk);
    examineBoot(desk);
    examineClones(desk);
    examineManyClones(desk, exam.manyClones);
    examinePauses(desk);
    examineForks(desk);
    examineSaves(desk);
    examineEnds(desk);
    examineAdoption(desk);
    examineFailures(desk);
  });
}

/** One template for all chapters, and every machine of the exam, so that none is left behind. */
class Desk {
  readonly #exam: EngineExam;
  readonly #started: RunningMachine[] = [];
  #room: EngineExamRoom | undefined;
  #engine: Engine | undefined;
  #template: StateFiles | undefined;

  constructor(exam: EngineExam) {
    this.#exam = exam;
  }

  get room(): EngineExamRoom {
    return given(this.#room);
  }
  get engine(): Engine {
    return given(this.#engine);
  }
  get template(): StateFiles {
    return given(this.#template);
  }

  async open(): Promise<void> {
    this.#room = await this.#exam.openRoom();
    this.#engine = await this.#room.openEngine();
    const { machine, files } = await this.boot();
    await this.#room.guest.put(machine, "memory", "template");
    await this.#room.guest.put(machine, "disk", "template");
    await save(machine, files);
    const { memoryPath, statePath, diskPath } = files;
    this.#template = { memoryPath, statePath, diskPath };
  }

  async close(): Promise<void> {
    try {
      await Promise.all(this.#started.map((machine) => machine.end()));
    } finally {
      await this.#room?.close();
    }
  }

  /** A booted machine whose guest is up. */
  async boot(): Promise<{ readonly machine: RunningMachine; readonly files: StateFiles }> {
    const vm = await this.room.makeVm();
    const files = await this.room.makeStateFiles();
    const { boot, blankDiskPath } = this.room;
    const config = { ...vm, shape, rootfsPath: boot.rootfsPath, boot, blankDiskPath, memoryPath: files.memoryPath };
    const machine = this.keep(await this.engine.boot(config));
    await this.room.guest.ready(machine);
    return { machine, files };
  }

  /** What a clone of the template is asked for. */
  async config(changes: Partial<CloneConfig> = {}): Promise<CloneConfig> {
    const vm = await this.room.makeVm();
    return {
      ...vm,
      shape,
      rootfsPath: this.room.boot.rootfsPath,
      source: this.template,
      priority: "normal",
      ...changes,
    };
  }

  /** A clone of the template whose guest is up. */
  async clone(changes: Partial<CloneConfig> = {}): Promise<RunningMachine & { readonly directory: string }> {
    const config = await this.config(changes);
    const machine = this.keep(await this.engine.clone(config));
    await this.room.guest.ready(machine);
    return { ...machine, directory: config.directory };
  }

  keep<M extends RunningMachine>(machine: M): M {
    this.#started.push(machine);
    return machine;
  }
}

function given<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("the exam has not been opened");
  return value;
}

/** Saves a machine that booted; its memory is in the file already. */
async function save(machine: RunningMachine, files: StateFiles): Promise<void> {
  const paused = await machine.pause();
  await paused.saveDeviceState(files.statePath);
  await paused.saveDisk(files.diskPath);
  await paused.end();
}

function examineFacts(desk: Desk): void {
  test("it says what it is, the same each time", async () => {
    const facts = await desk.engine.facts();
    expect(facts.version).not.toBe("");
    expect(facts.acceleratorReason).not.toBe("");
    expect(facts.fingerprint).toMatch(/^[^\n]+$/);
    expect(await desk.engine.facts()).toEqual(facts);
  });

  test("a second engine on the same host finds the same", async () => {
    const other = await desk.room.openEngine();
    expect(await other.facts()).toEqual(await desk.engine.facts());
  });
}

function examineBoot(desk: Desk): void {
  test("a booted machine runs, is listed, and leaves a template of three files", async () => {
    const { machine, files } = await desk.boot();
    expect(machine.phase).toBe("running");
    expect(machine.pid).toBeGreaterThan(1);
    expect(await desk.engine.running()).toContain(machine.vmId);
    await save(machine, files);
    expect(await desk.engine.running()).not.toContain(machine.vmId);
    for (const path of [files.memoryPath, files.statePath, files.diskPath])
      expect(await desk.room.exists(path)).toBe(true);
  });

  test("a saved state is never written over a file that is there", async () => {
    const paused = await (await desk.clone()).pause();
    await expect(paused.saveDeviceState(desk.template.statePath)).rejects.toBeInstanceOf(InstaVmError);
    await expect(paused.saveDisk(desk.template.diskPath)).rejects.toBeInstanceOf(InstaVmError);
    await paused.end();
    expect(await remembered(desk, await desk.clone())).toEqual({ memory: "template", disk: "template" });
  });
}

function examineClones(desk: Desk): void {
  test("a clone continues with the template's memory and disk", async () => {
    const clone = await desk.clone();
    expect(await remembered(desk, clone)).toEqual({ memory: "template", disk: "template" });
  });

  test("what one clone writes no other sees, then or later", async () => {
    const { guest } = desk.room;
    const [one, two] = [await desk.clone(), await desk.clone()];
    await guest.put(one, "memory", "one");
    await guest.put(one, "disk", "one");
    await guest.put(two, "disk", "two");
    expect(await remembered(desk, one)).toEqual({ memory: "one", disk: "one" });
    expect(await remembered(desk, two)).toEqual({ memory: "template", disk: "two" });
    expect(await remembered(desk, await desk.clone())).toEqual({ memory: "template", disk: "template" });
  });

  test("a clone in the background runs and can be made normal", async () => {
    const clone = await desk.clone({ priority: "background" });
    await clone.prioritise();
    expect(await remembered(desk, clone)).toEqual({ memory: "template", disk: "template" });
  });
}

function examineManyClones(desk: Desk, count: number): void {
  test(`${count} clones at once each keep their own`, async () => {
    const values = Array.from({ length: count }, (_, index) => `clone ${index}`);
    const clones = await Promise.all(values.map(() => desk.clone()));
    await Promise.all(clones.map((clone, index) => desk.room.guest.put(clone, "memory", values[index] ?? "")));
    const kept = await Promise.all(clones.map((clone) => desk.room.guest.get(clone, "memory")));
    expect(kept).toEqual(values);
    expect(new Set(clones.map((clone) => clone.pid)).size).toBe(count);
    await Promise.all(clones.map((clone) => clone.end()));
  });
}

function examinePauses(desk: Desk): void {
  test("a machine that was paused goes on as if nothing had been", async () => {
    const clone = await desk.clone();
    await desk.room.guest.put(clone, "memory", "before");
    const paused = await clone.pause();
    expect(paused.phase).toBe("paused");
    const resumed = await paused.resume();
    expect(resumed).toMatchObject({ phase: "running", pid: clone.pid, agentSocketPath: clone.agentSocketPath });
    expect(await desk.room.guest.get(resumed, "memory")).toBe("before");
  });

  test("a clone can be paused the moment it was started", async () => {
    const clone = desk.keep(await desk.engine.clone(await desk.config()));
    const resumed = await (await clone.pause()).resume();
    await desk.room.guest.ready(resumed);
    expect(await desk.room.guest.get(resumed, "memory")).toBe("template");
  });
}

function examineForks(desk: Desk): void {
  const fork = async (
    parent: Pick<RunningMachine, "fork">,
  ): Promise<RunningMachine & { readonly directory: string }> => {
    const vm = await desk.room.makeVm();
    const { machine, pauseMs } = await parent.fork({ ...vm, priority: "normal" });
    desk.keep(machine);
    expect(pauseMs).toBeGreaterThan(0);
    expect(machine).toMatchObject({ phase: "running", vmId: vm.vmId });
    await desk.room.guest.ready(machine);
    return { ...machine, directory: vm.directory };
  };

  test("a machine that runs is forked: the copy has its memory and disk, and each goes on for itself", async () => {
    const { guest } = desk.room;
    const parent = await desk.clone();
    await guest.put(parent, "memory", "parent");
    await guest.put(parent, "disk", "parent");
    const child = await fork(parent);
    expect(await remembered(desk, child)).toEqual({ memory: "parent", disk: "parent" });
    await guest.put(child, "memory", "child");
    await guest.put(child, "disk", "child");
    expect(await remembered(desk, parent)).toEqual({ memory: "parent", disk: "parent" });
    await guest.put(parent, "disk", "later");
    expect(await remembered(desk, child)).toEqual({ memory: "child", disk: "child" });
  });

  test("a machine that stands is forked many times, and still stands", async () => {
    const clone = await desk.clone();
    await desk.room.guest.put(clone, "memory", "zygote");
    const paused = await clone.pause();
    const children = await Promise.all(Array.from({ length: 6 }, () => fork(paused)));
    await Promise.all(children.map((child, index) => desk.room.guest.put(child, "memory", `child ${index}`)));
    const kept = await Promise.all(children.map((child) => desk.room.guest.get(child, "memory")));
    expect(kept).toEqual(children.map((_, index) => `child ${index}`));
    expect(new Set(children.map(({ pid }) => pid)).size).toBe(children.length);
    expect(await desk.room.guest.get(await fork(paused), "memory")).toBe("zygote");
    await desk.room.guest.ready(await paused.resume());
  });

  test("a fork is forked in its turn, ten generations deep", async () => {
    let machine: RunningMachine = await desk.clone();
    for (let generation = 1; generation <= 10; generation += 1) {
      machine = await fork(machine);
      expect(await desk.room.guest.get(machine, "memory")).toBe(generation === 1 ? "template" : `${generation - 1}`);
      await desk.room.guest.put(machine, "memory", `${generation}`);
      await desk.room.guest.put(machine, "disk", `${generation}`);
    }
    expect(await remembered(desk, machine)).toEqual({ memory: "10", disk: "10" });
  });

  test("neither parent nor child notices the other's end", async () => {
    const parent = await desk.clone();
    const [first, second] = [await fork(parent), await fork(parent)];
    await desk.room.killProcess(first);
    expect(await remembered(desk, parent)).toEqual({ memory: "template", disk: "template" });
    await parent.end();
    expect(await remembered(desk, second)).toEqual({ memory: "template", disk: "template" });
    expect(await second.end()).toMatchObject({ phase: "ended", reason: { kind: "signalled", signal: 9 } });
  });

  test("a fork is paused, saved and taken over like any machine", async () => {
    const child = await fork(await desk.clone());
    await desk.room.guest.put(child, "memory", "kept");
    const next = await desk.room.openEngine();
    const adopted = await next.adopt(child.vmId, child.directory);
    expect(adopted).toMatchObject({ phase: "running", pid: child.pid, agentSocketPath: child.agentSocketPath });
    const files = await desk.room.makeStateFiles();
    const paused = await desk.keep(child).pause();
    await paused.saveDeviceState(files.statePath);
    await paused.saveDisk(files.diskPath);
    expect(await desk.room.guest.get(await paused.resume(), "memory")).toBe("kept");
  });

  test("what cannot be forked says so, and goes on", async () => {
    const { machine } = await desk.boot();
    const vm = await desk.room.makeVm();
    await expect(machine.fork({ ...vm, priority: "normal" })).rejects.toMatchObject({ code: "not_forkable" });
    expect(await desk.engine.running()).not.toContain(vm.vmId);
    await desk.room.guest.ready(machine);
    await machine.end();
  });

  test("a fork whose directory is missing leaves its parent as it was", async () => {
    const parent = await desk.clone();
    const { vmId } = await desk.room.makeVm();
    const absent = vmIdSchema.parse(`z${vmId.slice(1)}`);
    const started = parent.fork({ vmId: absent, directory: "/absent", priority: "normal" });
    await expect(started).rejects.toBeInstanceOf(InstaVmError);
    expect(await remembered(desk, parent)).toEqual({ memory: "template", disk: "template" });
  });
}

function examineSaves(desk: Desk): void {
  interface Saved {
    readonly source: StateFiles;
    readonly bytes: number;
  }
  const saveNow = async (machine: RunningMachine): Promise<Saved> => {
    const { statePath, diskPath, pagesPath } = await desk.room.makeStateFiles();
    const paused = await machine.pause();
    await paused.saveDeviceState(statePath);
    await paused.saveDisk(diskPath);
    const { memoryPath, bytes } = await paused.saveMemory(pagesPath);
    await paused.resume();
    return { source: { memoryPath, statePath, diskPath, pagesPath }, bytes };
  };
  const put = async (machine: RunningMachine, value: string): Promise<void> => {
    await desk.room.guest.put(machine, "memory", value);
    await desk.room.guest.put(machine, "disk", value);
  };

  test("what a clone has changed is saved beside its template, and a clone of both goes on from there", async () => {
    const machine = await desk.clone();
    await put(machine, "saved");
    const { source, bytes } = await saveNow(machine);
    expect(source.memoryPath).toBe(desk.template.memoryPath);
    expect(bytes).toBeGreaterThan(0);
    expect(bytes).toBeLessThan((shape.memoryMib << 20) / 4);
    await put(machine, "later");
    expect(await remembered(desk, await desk.clone({ source }))).toEqual({ memory: "saved", disk: "saved" });
    expect(await remembered(desk, machine)).toEqual({ memory: "later", disk: "later" });
    expect(await remembered(desk, await desk.clone())).toEqual({ memory: "template", disk: "template" });
  });

  test("a fork is saved like any clone, and so is what was made from a save, five times over", async () => {
    const parent = await desk.clone();
    let machine = desk.keep((await parent.fork({ ...(await desk.room.makeVm()), priority: "normal" })).machine);
    await desk.room.guest.ready(machine);
    for (let generation = 1; generation <= 5; generation += 1) {
      await put(machine, `${generation}`);
      const { source } = await saveNow(machine);
      await machine.end();
      machine = await desk.clone({ source });
      expect(await remembered(desk, machine)).toEqual({ memory: `${generation}`, disk: `${generation}` });
    }
    const child = desk.keep((await machine.fork({ ...(await desk.room.makeVm()), priority: "normal" })).machine);
    await desk.room.guest.ready(child);
    expect(await remembered(desk, child)).toEqual({ memory: "5", disk: "5" });
  });

  test("a machine that booted has no file to save its memory beside", async () => {
    const { machine } = await desk.boot();
    const { pagesPath } = await desk.room.makeStateFiles();
    const paused = await machine.pause();
    await expect(paused.saveMemory(pagesPath)).rejects.toMatchObject({ code: "engine_failed" });
    expect(await desk.room.exists(pagesPath)).toBe(false);
    await paused.end();
  });

  test("a saved memory is never written over a file that is there", async () => {
    const machine = await desk.clone();
    const { source } = await saveNow(machine);
    const paused = await machine.pause();
    await expect(paused.saveMemory(source.pagesPath ?? "")).rejects.toBeInstanceOf(InstaVmError);
    await paused.resume();
    expect(await remembered(desk, await desk.clone({ source }))).toEqual({ memory: "template", disk: "template" });
  });

  test("a clone whose changed pages are missing starts nothing", async () => {
    const { pagesPath } = await desk.room.makeStateFiles();
    const config = await desk.config({ source: { ...desk.template, pagesPath } });
    await expect(desk.engine.clone(config)).rejects.toBeInstanceOf(InstaVmError);
    expect(await desk.engine.running()).not.toContain(config.vmId);
  });
}

function examineEnds(desk: Desk): void {
  const killed = { phase: "ended", reason: { kind: "signalled", signal: 9 } };

  test("an ended machine is gone, and ending it again says the same", async () => {
    const clone = await desk.clone();
    const [first, second] = await Promise.all([clone.end(), clone.end()]);
    expect(first).toMatchObject({ ...killed, vmId: clone.vmId });
    expect(second).toEqual(first);
    expect(await clone.end()).toEqual(first);
    expect(await clone.ended).toEqual(first);
    expect(await desk.engine.running()).not.toContain(clone.vmId);
  });

  test("a paused machine can be ended", async () => {
    const paused = await (await desk.clone()).pause();
    expect(await paused.end()).toMatchObject(killed);
  });

  test("a machine that is killed from outside is seen to end", async () => {
    const clone = await desk.clone();
    await desk.room.killProcess(clone);
    expect(await clone.ended).toMatchObject(killed);
    expect(await clone.end()).toMatchObject(killed);
    await expect(clone.pause({ timeoutMs: 1_000 })).rejects.toBeInstanceOf(InstaVmError);
  });

  test("a clone whose guest gives up ends", async () => {
    const clone = await desk.clone();
    await desk.room.guest.crash(clone);
    expect(await clone.ended).toMatchObject({ phase: "ended", vmId: clone.vmId });
    expect(await desk.engine.running()).not.toContain(clone.vmId);
  });
}

function examineAdoption(desk: Desk): void {
  test("a new engine takes over what runs, with its memory", async () => {
    const clone = await desk.clone();
    await desk.room.guest.put(clone, "memory", "kept");
    const next = await desk.room.openEngine();
    expect(await next.running()).toContain(clone.vmId);
    const adopted = await next.adopt(clone.vmId, clone.directory);
    expect(adopted).toMatchObject({ phase: "running", pid: clone.pid, agentSocketPath: clone.agentSocketPath });
    expect(await desk.room.guest.get(clone, "memory")).toBe("kept");
    expect(await adopted?.end()).toMatchObject({ phase: "ended", vmId: clone.vmId });
    expect(await clone.ended).toMatchObject({ phase: "ended" });
  });

  test("a machine that was left paused runs after it was taken over", async () => {
    const clone = await desk.clone();
    await desk.room.leavePaused(clone);
    const next = await desk.room.openEngine();
    const adopted = await next.adopt(clone.vmId, clone.directory);
    expect(adopted?.phase).toBe("running");
    expect(await desk.room.guest.get(clone, "memory")).toBe("template");
  });

  test("what ended, and what never ran, cannot be taken over", async () => {
    const clone = await desk.clone();
    await clone.end();
    const next = await desk.room.openEngine();
    expect(await next.adopt(clone.vmId, clone.directory)).toBeUndefined();
    const never = await desk.room.makeVm();
    expect(await next.adopt(never.vmId, never.directory)).toBeUndefined();
  });
}

function examineFailures(desk: Desk): void {
  test.each(["memoryPath", "statePath", "diskPath"] as const)(
    "without the %s of its source no clone starts",
    async (lost) => {
      const absent = await desk.room.makeStateFiles();
      const config = await desk.config({ source: { ...desk.template, [lost]: absent[lost] } });
      await expect(desk.engine.clone(config)).rejects.toBeInstanceOf(InstaVmError);
      expect(await desk.engine.running()).not.toContain(config.vmId);
      expect(await desk.room.exists(absent[lost])).toBe(false);
    },
  );

  test("without the blank disk no machine boots, and its memory is not left behind", async () => {
    const [vm, files] = [await desk.room.makeVm(), await desk.room.makeStateFiles()];
    const { boot } = desk.room;
    const paths = { blankDiskPath: files.diskPath, memoryPath: files.memoryPath };
    const start = desk.engine.boot({ ...vm, ...paths, shape, boot, rootfsPath: boot.rootfsPath });
    await expect(start).rejects.toBeInstanceOf(InstaVmError);
    expect(await desk.engine.running()).not.toContain(vm.vmId);
    expect(await desk.room.exists(files.memoryPath)).toBe(false);
  });

  test("a start that was called off before it began starts nothing", async () => {
    const config = await desk.config();
    const reason = new Error("called off");
    await expect(desk.engine.clone(config, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(await desk.engine.running()).not.toContain(config.vmId);
  });

  test("a start that is called off on the way leaves nothing running", async () => {
    const config = await desk.config();
    const leaving = new AbortController();
    const start = desk.engine.clone(config, { signal: leaving.signal });
    leaving.abort(new Error("called off"));
    await expect(start).rejects.toThrow("called off");
    expect(await desk.engine.running()).not.toContain(config.vmId);
  });
}

async function remembered(desk: Desk, machine: RunningMachine): Promise<Readonly<Record<Place, string>>> {
  const { guest } = desk.room;
  return { memory: await guest.get(machine, "memory"), disk: await guest.get(machine, "disk") };
}

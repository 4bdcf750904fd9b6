import type { EndReason } from "@instavm/core";

/** The ends that somebody may ask for, by VM id. */
export interface EndWatch {
  find(vmId: string): Promise<EndReason> | undefined;
  /** Expects the end of a process that is new or newly asked about. */
  expect(vmId: string): ExpectedEnd;
  settle(vmId: string, reason: EndReason): void;
  forget(vmId: string): void;
  /** Whose ends have not been seen. */
  open(): readonly string[];
}

interface ExpectedEnd {
  readonly reason: Promise<EndReason>;
  /** There is no such process after all: what was expected before is again. */
  drop(): void;
}

interface Entry {
  readonly end: PromiseWithResolvers<EndReason>;
  isOpen: boolean;
}

export function watchEnds(): EndWatch {
  const entries = new Map<string, Entry>();
  return {
    find: (vmId) => entries.get(vmId)?.end.promise,
    expect(vmId) {
      const before = entries.get(vmId);
      const entry: Entry = { end: Promise.withResolvers(), isOpen: true };
      entries.set(vmId, entry);
      const drop = (): void => {
        if (entries.get(vmId) !== entry) return;
        if (before === undefined) entries.delete(vmId);
        else entries.set(vmId, before);
      };
      return { reason: entry.end.promise, drop };
    },
    settle(vmId, reason) {
      const entry = entries.get(vmId);
      if (entry === undefined) return;
      entry.isOpen = false;
      entry.end.resolve(reason);
    },
    forget: (vmId) => void entries.delete(vmId),
    open: () => [...entries].filter(([, entry]) => entry.isOpen).map(([vmId]) => vmId),
  };
}

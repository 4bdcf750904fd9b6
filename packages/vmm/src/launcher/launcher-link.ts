import { InstaVmError } from "@instavm/contract";
import type { Waiting } from "@instavm/core";
import { DeadlineExceeded, singleFlight, sleep, withDeadline } from "@instavm/process";
import type { EndWatch } from "./end-watch.ts";
import { reachLauncher } from "./ensure-launcher.ts";
import type { LauncherOptions } from "./ensure-launcher.ts";
import { endReasonOf, listProcesses } from "./launched-process.ts";
import { noAnswer } from "./launcher-connection.ts";
import type { LauncherConnection } from "./launcher-connection.ts";

/** The way to the launcher, whichever runs at the moment. */
export interface LauncherLink {
  /** The present connection, or a new one. */
  connection(waiting?: Waiting): Promise<LauncherConnection>;
  close(): void;
}

const connectionTimeoutMs = 20_000;
/** Between attempts to reach a launcher that was lost. */
const pause = { firstMs: 20, longestMs: 2_000 };

/** Connects on demand and again after each loss; what ended unseen is settled before a new connection is used. */
export function keepLink(options: LauncherOptions, watch: EndWatch): LauncherLink {
  const closing = new AbortController();
  let current: LauncherConnection | undefined;

  const open = singleFlight(async () => {
    if (current !== undefined) return current;
    const connection = await reachLauncher(
      options,
      { onEnded: (ended) => watch.settle(ended.vmId, endReasonOf(ended)) },
      { signal: closing.signal },
    );
    await settleUnseen(connection, watch);
    current = connection;
    void connection.closed.then(() => {
      current = undefined;
      return closing.signal.aborted ? undefined : reopen();
    });
    return connection;
  });

  const reopen = async (): Promise<void> => {
    for (let delayMs = pause.firstMs; !closing.signal.aborted; delayMs = Math.min(2 * delayMs, pause.longestMs)) {
      try {
        await open();
        return;
      } catch (error) {
        if (closing.signal.aborted) return;
        options.log.warn("launcher_lost", { error: String(error) });
        await sleep(delayMs, closing.signal).catch(() => {}); // closing ends the loop
      }
    }
  };

  return {
    async connection(waiting = {}) {
      if (closing.signal.aborted) throw closedError();
      if (current !== undefined) return current;
      const subject = `launcher of ${options.stateDir}`;
      try {
        return await withDeadline(open, { subject, timeoutMs: connectionTimeoutMs, ...waiting });
      } catch (error) {
        throw error instanceof DeadlineExceeded ? noAnswer(error) : error;
      }
    },
    close() {
      closing.abort(closedError());
      current?.close();
    },
  };
}

/** While no connection was there, processes ended that somebody waits for. */
async function settleUnseen(connection: LauncherConnection, watch: EndWatch): Promise<void> {
  const open = watch.open();
  if (open.length === 0) return;
  try {
    const known = new Map((await listProcesses(connection)).map((process) => [String(process.vmId), process]));
    for (const vmId of open) {
      const process = known.get(vmId);
      if (process === undefined) watch.settle(vmId, { kind: "unknown" });
      else if (process.ended !== undefined) watch.settle(vmId, process.ended);
    }
  } catch (error) {
    connection.close();
    throw error;
  }
}

function closedError(): InstaVmError {
  return new InstaVmError("launcher_unreachable", "launcher: this client of it was closed");
}

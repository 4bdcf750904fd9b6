import { connect } from "node:net";
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { InstaVmError } from "@instavm/contract";
import { describe, expect, it } from "vitest";
import { ScriptedCommands } from "../testing/scripted-commands.ts";
import { startApi } from "../testing/throwaway-api.ts";
import type { ThrowawayApi } from "../testing/throwaway-api.ts";

const mib = 1024 * 1024;
const path = "/v1/vms/abcdefghij0123456789/commands/1/output";

function open(server: ThrowawayApi): Socket {
  const socket = connect(server.port, "127.0.0.1");
  socket.on("error", () => undefined);
  socket.write(`GET ${path} HTTP/1.1\r\nhost: x\r\nx-api-key: ${server.keys.adminKey}\r\n\r\n`);
  return socket;
}

describe("a command's output as events", () => {
  it("is held back by a client that does not read, while another reads on, and memory stays as it was", async () => {
    const commands = new ScriptedCommands();
    await using server = await startApi({ commands });
    const total = 100 * mib;
    const taken: number[] = [];
    commands.behaviour = async (take) => {
      const reader = taken.push(0) - 1;
      const piece = new Uint8Array(65_536).fill(0x61);
      for (let sent = 0; sent < total; sent += piece.length) {
        await take({ type: "stdout", data: piece });
        taken[reader] = sent + piece.length;
      }
    };
    const before = process.memoryUsage().rss;
    const slow = open(server);
    slow.pause();
    await sleep(500);
    const fast = open(server);
    let received = 0;
    const whole = Promise.withResolvers<void>();
    fast.on("data", (data) => {
      received += data.length;
      if (data.includes("event: exit")) whole.resolve();
    });
    await whole.promise;
    expect(received).toBeGreaterThan(total);
    expect(taken[1]).toBe(total);
    expect(taken[0]).toBeLessThan(16 * mib);
    expect(process.memoryUsage().rss - before).toBeLessThan(96 * mib);
    slow.destroy();
    fast.destroy();
  });

  it("says between events that it lives", async () => {
    const commands = new ScriptedCommands();
    await using server = await startApi({ commands, patience: { heartbeatMs: 20 } });
    commands.behaviour = async () => sleep(200);
    const body = await (await server.get(path)).text();
    expect(body.split(": heartbeat\n\n").length).toBeGreaterThan(2);
  });

  it("is given up when its client leaves, or does not read for too long", async () => {
    const commands = new ScriptedCommands();
    await using server = await startApi({ commands, patience: { stallMs: 200, checkEveryMs: 20 } });
    for (const leave of [(socket: Socket) => socket.destroy(), (socket: Socket) => socket.pause()]) {
      const over = Promise.withResolvers<void>();
      commands.behaviour = async (take, signal) => {
        const hasLeft = (): boolean => signal?.aborted === true;
        while (!hasLeft()) {
          await take({ type: "stdout", data: new Uint8Array(65_536).fill(0x61) });
          await sleep(1);
        }
        over.resolve();
        throw new InstaVmError("cancelled", "the client left");
      };
      const socket = open(server);
      socket.resume();
      await new Promise((resolve) => socket.once("data", resolve));
      leave(socket);
      await over.promise;
      socket.destroy();
      expect((await server.get("/health")).status).toBe(200);
    }
  });
});

import { uploadDirectory } from "instavm/node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { packagesForGuest } from "./support/guest-wheels.ts";
import { RealServer } from "./support/real-server.ts";
import { TestSession } from "./support/test-session.ts";

const pngSignature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
/** Where people's own packages go. */
const site = "/usr/local/lib/python3.11/dist-packages";
/** Noise does not compress: the picture is far larger than a frame of the guest protocol. */
const noise = `
import matplotlib.pyplot as plt, numpy as np
plt.figure(figsize=(4, 4), dpi=150)
plt.imshow(np.random.default_rng(1).random((600, 600, 3)), interpolation="nearest")
plt.title("noise");`;

describe("matplotlib in a VM", () => {
  let server: RealServer;
  let session: TestSession;
  beforeAll(async () => {
    const packages = packagesForGuest("matplotlib==3.10.3");
    server = await RealServer.start();
    session = await TestSession.open(server, { memoryMib: 1024 });
    await uploadDirectory(server.client.files(session.sessionId), { from: packages, to: site });
  });
  afterAll(async () => {
    await session[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  });

  test("a figure larger than a frame comes whole, as PNG, without plt.show()", async () => {
    const imported = await session.python("import matplotlib.pyplot", { timeoutS: 120 });
    expect(imported).toMatchObject({ error: undefined, exitCode: 0 });
    const { results, error } = await session.python(noise, { timeoutS: 50 });
    expect(error).toBeUndefined();
    const figures = results.filter(({ type }) => type === "image/png");
    expect(figures).toHaveLength(1);
    const bytes = Buffer.from(String(figures[0]?.data), "base64");
    expect(bytes.subarray(0, 8)).toEqual(pngSignature);
    expect(bytes.subarray(-8, -4).toString()).toBe("IEND");
    expect(bytes.byteLength).toBeGreaterThan(64 * 1024);
  });

  test("two figures of one cell come both, in order, and none twice", async () => {
    const code = "for n in (1, 2):\n    plt.figure(figsize=(1, 1))\n    plt.plot(range(n + 1))\nprint('drawn')";
    const drawn = await session.python(code, { timeoutS: 120 });
    // As in a terminal, what is displayed shows in the text too.
    expect(drawn.stdout).toMatch(/^drawn\n(<Figure .*>\n){2}$/);
    expect(drawn.results.map(({ type }) => type).filter((type) => type === "image/png")).toHaveLength(2);
    expect((await session.python("1 + 1")).results.map(({ type }) => type)).toEqual(["text/plain"]);
  });

  test("streamed, a figure is a result event", async () => {
    const events = server.client.stream(session.sessionId, "plt.plot([3, 1, 2]);", {
      language: "python",
      timeoutS: 120,
    });
    const kinds: string[] = [];
    for await (const event of events) kinds.push(event.type === "result" ? event.mimeType : event.type);
    expect(kinds.filter((kind) => kind === "image/png")).toHaveLength(1);
    expect(kinds.at(-1)).toBe("exit");
  });
});

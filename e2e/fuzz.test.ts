import { afterAll, beforeAll, expect, test } from "vitest";
import { fuzz } from "./fuzz/fuzzer.ts";
import { RealServer } from "./support/real-server.ts";

/**
 * By default a short run. `INSTAVM_FUZZ_REQUESTS=10000` asks for more, `INSTAVM_FUZZ_SEED` for other requests: a report
 * names the seed, with which the same ones are made again. `INSTAVM_FUZZ_OPERATIONS=File$` asks some operations only.
 */
const requests = Number(process.env["INSTAVM_FUZZ_REQUESTS"] ?? 300);
/** So many reach every operation. */
const manyRequests = 3000;
const only = new RegExp(process.env["INSTAVM_FUZZ_OPERATIONS"] ?? "");
const seed = Number(process.env["INSTAVM_FUZZ_SEED"] ?? 1);

let server: RealServer;

beforeAll(async () => {
  server = await RealServer.start();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

test(
  "every answer to requests made from the document is one that the document allows",
  async () => {
    const { sent, statuses, findings, neverSucceeded, serverErrors } = await fuzz(server, { seed, requests, only });
    process.stdout.write(
      `fuzz: seed ${String(seed)}, ${String(sent)} requests, statuses ${JSON.stringify(statuses)}\n`,
    );
    for (const seen of serverErrors.slice(0, 20)) process.stdout.write(`fuzz: ${seen}\n`);
    expect(findings).toEqual([]);
    expect(sent).toBe(requests);
    if (requests >= manyRequests) expect(neverSucceeded).toEqual([]);
    expect(server.log.split("\n").filter((line) => line.includes('"level":"error"'))).toEqual([]);
  },
  60_000 + requests * 500,
);

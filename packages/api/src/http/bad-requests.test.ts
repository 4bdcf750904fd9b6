import { once } from "node:events";
import { connect } from "node:net";
import { errorBodySchema, operations } from "@instavm/contract";
import type { Operation } from "@instavm/contract";
import { describe, expect, it } from "vitest";
import { sendRaw, startApi } from "../testing/throwaway-api.ts";

const json = { "content-type": "application/json" };

/** The body of an answer that must be an error. */
async function problem(answer: Response) {
  expect(answer.headers.get("content-type")).toBe("application/json; charset=utf-8");
  const body = errorBodySchema.parse(await answer.json());
  expect(body.request_id).toBe(answer.headers.get("x-request-id"));
  return { status: answer.status, ...body };
}

/** The same from a raw answer. */
function rawProblem(answer: string) {
  const [head = "", body = ""] = answer.split("\r\n\r\n");
  return { status: Number(head.split(" ")[1]), ...errorBodySchema.parse(JSON.parse(body)) };
}

describe("a path", () => {
  it.each(["/health", "/health/", "//health", "//health//", "///health"])(
    "is answered without a redirect as %s",
    async (path) => {
      await using server = await startApi();
      const answer = await fetch(`${server.url}${path}`, { redirect: "error" });
      expect(answer.status).toBe(200);
      expect(await answer.json()).toMatchObject({ status: "ok", engine: "fake", accelerator: "tcg" });
    },
  );

  it("is answered in both forms for every operation", async () => {
    await using server = await startApi();
    for (const { method, path, access } of Object.values<Operation>(operations)) {
      if (access === "open") continue;
      const plain = path.replaceAll(/\{\w+\}/g, "x");
      for (const form of [plain, `${plain}/`, plain.replaceAll("/", "//"), `/${plain}//`]) {
        const answer = await fetch(server.url + form, { method });
        expect((await problem(answer)).code).toBe("unauthorized");
      }
    }
  });

  it("that does not exist is a 404 in our form", async () => {
    await using server = await startApi();
    expect(await problem(await server.get("/v2/nothing?key=secret"))).toMatchObject({
      status: 404,
      code: "not_found",
      detail: "GET /v2/nothing does not exist.",
    });
  });

  it("that has other methods says which", async () => {
    await using server = await startApi();
    const answer = await server.get("/execute");
    expect(answer.headers.get("allow")).toBe("POST");
    expect(await problem(answer)).toMatchObject({ status: 405, code: "method_not_allowed" });
    const trace = await sendRaw(server.port, ["TRACE /v1/vms/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"]);
    expect(trace).toMatch(/^HTTP\/1.1 405 [^]*\r\nallow: GET, HEAD, POST\r\n/);
  });

  it("that cannot be decoded is refused", async () => {
    await using server = await startApi();
    expect(await problem(await server.get("/v1/sessions/session/%zz"))).toMatchObject({
      status: 400,
      code: "bad_request",
    });
    expect(await problem(await server.get(`/v1/sessions/session/${"a".repeat(5000)}`))).toMatchObject({ status: 404 });
  });
});

describe("a key", () => {
  it("is taken from either header", async () => {
    await using server = await startApi();
    const status = async (headers: Record<string, string>): Promise<number> =>
      (await fetch(`${server.url}/v1/sessions/sandboxes`, { headers })).status;
    expect(await status({ "x-api-key": server.keys.userKey })).toBe(200);
    expect(await status({ authorization: `Bearer ${server.keys.userKey}` })).toBe(200);
    expect(await status({ authorization: `bearer  ${server.keys.userKey}` })).toBe(200);
    expect(await status({})).toBe(401);
    expect(await status({ "x-api-key": "" })).toBe(401);
    expect(await status({ "x-api-key": `${server.keys.userKey}x` })).toBe(401);
    expect(await status({ "x-api-key": "x".repeat(8000) })).toBe(401);
    expect(await status({ authorization: `Basic ${server.keys.userKey}` })).toBe(401);
    expect(await status({ "x-api-key": "wrong", authorization: `Bearer ${server.keys.userKey}` })).toBe(401);
  });

  it("that is sent twice is refused", async () => {
    await using server = await startApi();
    const head = `GET /v1/sessions/sandboxes HTTP/1.1\r\nhost: a\r\nconnection: close\r\n`;
    const answer = await sendRaw(server.port, [
      `${head}x-api-key: ${server.keys.userKey}\r\nx-api-key: ${server.keys.userKey}\r\n\r\n`,
    ]);
    expect(rawProblem(answer)).toMatchObject({ status: 401, code: "unauthorized" });
  });

  it("that is wrong is refused before the body is read", async () => {
    await using server = await startApi();
    const head = `POST /execute HTTP/1.1\r\nhost: a\r\nx-api-key: wrong\r\ncontent-type: application/json\r\n`;
    const started = performance.now();
    const answer = await sendRaw(server.port, [`${head}connection: close\r\ncontent-length: 100000\r\n\r\n{`]);
    expect(rawProblem(answer)).toMatchObject({ status: 401 });
    expect(performance.now() - started).toBeLessThan(10_000);
  });

  it("is looked up once for many calls", async () => {
    await using server = await startApi();
    for (let call = 0; call < 10; call += 1) await server.get("/v1/sessions/sandboxes");
    expect(server.keys.lookups).toBe(1);
  });
});

describe("a body", () => {
  const send = async (body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = json) => {
    await using server = await startApi();
    return await problem(await server.get("/execute", { method: "POST", body, headers }));
  };

  it.each(["{", '{"command": "1",}', "nonsense", '"', "{}{}", "\ufeff\ufeff{}"])(
    "that is not JSON is a 400: %s",
    async (body) => {
      expect(await send(body)).toMatchObject({
        status: 400,
        code: "bad_request",
        detail: expect.stringContaining("JSON"),
      });
    },
  );

  it.each(["[]", "7", "null", '"text"', "true"])("that is no object is refused: %s", async (body) => {
    expect(await send(body)).toMatchObject({ status: 422, code: "invalid" });
  });

  it("that is not UTF-8 is a 400", async () => {
    expect(await send(Uint8Array.of(0x22, 0xff, 0x22))).toMatchObject({
      status: 400,
      detail: expect.stringContaining("UTF-8"),
    });
  });

  it("that is missing is refused by the names of the fields", async () => {
    expect(await send("")).toMatchObject({
      status: 422,
      errors: [{ loc: ["body", "command"] }, { loc: ["body", "session_id"] }],
    });
  });

  it.each(["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "nonsense"])(
    "of type %s is refused with the type that is expected",
    async (type) => {
      const answer = await send("{}", { "content-type": type });
      expect(answer).toMatchObject({ status: 400, detail: expect.stringContaining("application/json") });
    },
  );

  it("cannot reach a prototype", async () => {
    await using server = await startApi();
    const body =
      '{"metadata":{"__proto__":{"polluted":1}},"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}';
    const answer = await server.get("/v1/sessions/session", { method: "POST", body, headers: json });
    expect(answer.status).toBe(200);
    expect("polluted" in {}).toBe(false);
  });

  it("of any size that is too large gets its answer and no reset", async () => {
    await using server = await startApi();
    const body = new Uint8Array(100 * 2 ** 20);
    for (let round = 0; round < 5; round += 1) {
      const answer = await server.get("/execute", { method: "POST", body, headers: json });
      expect(await problem(answer)).toMatchObject({ status: 413, code: "too_large" });
    }
  });

  it("that goes on for ever after its refusal is cut off", async () => {
    await using server = await startApi();
    const socket = connect(server.port, "127.0.0.1");
    socket.on("error", () => {});
    // Not `once` of events: it fails with the reset that the last byte may meet.
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.write(`POST /execute HTTP/1.1\r\nhost: a\r\nx-api-key: ${server.keys.userKey}\r\n`);
    socket.write(`content-type: application/json\r\ncontent-length: ${2 ** 40}\r\n\r\n`);
    const [answer] = await once(socket.setEncoding("utf8"), "data");
    expect(answer).toMatch(/^HTTP\/1\.1 413 /);
    const trickle = setInterval(() => socket.write("x"), 50);
    await closed;
    clearInterval(trickle);
  }, 60_000);

  it("that says it is too large is refused before it is read, and its sender gets the answer", async () => {
    await using server = await startApi();
    const answer = await server.get("/execute", {
      method: "POST",
      body: Buffer.alloc(40 * 1024 * 1024, "x"),
      headers: json,
    });
    expect(await problem(answer)).toMatchObject({
      status: 413,
      code: "too_large",
      detail: expect.stringContaining("41943040"),
    });
    expect(await problem(await server.post("/kill", { session_id: "x".repeat(1024 * 1024) }))).toMatchObject({
      status: 413,
    });
  });

  it("of more than anybody would send is refused at once", async () => {
    await using server = await startApi();
    const head = `POST /execute HTTP/1.1\r\nhost: a\r\nx-api-key: ${server.keys.adminKey}\r\ncontent-type: application/json\r\n`;
    const answer = await sendRaw(server.port, [`${head}content-length: 1000000000000\r\n\r\n{"comm`]);
    expect(rawProblem(answer)).toMatchObject({ status: 413 });
  });

  it("without a length is cut off at the limit", async () => {
    await using server = await startApi();
    const head = `POST /kill HTTP/1.1\r\nhost: a\r\nx-api-key: ${server.keys.adminKey}\r\ncontent-type: application/json\r\n`;
    const chunk = `${(65_536).toString(16)}\r\n${"x".repeat(65_536)}\r\n`;
    const answer = await sendRaw(server.port, [
      `${head}connection: close\r\ntransfer-encoding: chunked\r\n\r\n`,
      ...Array.from({ length: 20 }, () => chunk),
      "0\r\n\r\n",
    ]);
    expect(rawProblem(answer)).toMatchObject({ status: 413 });
  });
});

describe("a request's id", () => {
  it("is the caller's when it is harmless, else our own", async () => {
    await using server = await startApi();
    const idFor = async (id: string): Promise<string | null> =>
      (await fetch(`${server.url}/health`, { headers: { "x-request-id": id } })).headers.get("x-request-id");
    expect(await idFor("trace-42.a_b")).toBe("trace-42.a_b");
    expect(await idFor("a b")).toMatch(/^[0-9a-f-]{36}$/);
    expect(await idFor("x".repeat(65))).toMatch(/^[0-9a-f-]{36}$/);
  });
});

describe("a connection that carries no request", () => {
  it.each([
    ["\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "TLS"],
    ["SSH-2.0-OpenSSH_9.2\r\n\r\n", "SSH"],
    ["GET / HTTP/9.9\r\n\r\n", "an unknown version"],
    ["POST /execute HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n", "two lengths"],
    [
      "POST /execute HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
      "length and chunks",
    ],
    ["GET /health HTTP/1.1\r\nhost : a\r\n\r\n", "a space in a header's name"],
  ])("is answered and closed: %j", async (bytes) => {
    await using server = await startApi();
    expect(rawProblem(await sendRaw(server.port, [bytes]))).toMatchObject({ status: 400, code: "bad_request" });
  });

  it("is closed when its headers do not end", async () => {
    await using server = await startApi();
    const answer = await sendRaw(server.port, [
      "GET /health HTTP/1.1\r\nhost: a\r\n",
      `x-long: ${"y".repeat(20_000)}\r\n\r\n`,
    ]);
    expect(rawProblem(answer)).toMatchObject({ status: 400, detail: expect.stringContaining("16384") });
  });
});

describe("a slow client", () => {
  const patience = { headersMs: 300, requestMs: 600, checkEveryMs: 50 };
  const drip = Array.from({ length: 40 }, () => "x");

  it("loses its connection when its headers take too long", async () => {
    await using server = await startApi({ patience });
    const answer = await sendRaw(server.port, ["GET /health HTTP/1.1\r\nhost: a\r\nx-drip: ", ...drip], 50);
    expect(rawProblem(answer)).toMatchObject({ status: 408, code: "timeout" });
  });

  it("loses its connection when its body takes too long", async () => {
    await using server = await startApi({ patience });
    const head = `POST /execute HTTP/1.1\r\nhost: a\r\nx-api-key: ${server.keys.adminKey}\r\ncontent-type: application/json\r\n`;
    const answer = await sendRaw(server.port, [`${head}content-length: 1000\r\n\r\n`, ...drip], 50);
    expect(rawProblem(answer)).toMatchObject({ status: 408, code: "timeout" });
  });

  it("does not hold up the others", async () => {
    await using server = await startApi({ patience });
    const slow = Array.from({ length: 50 }, async () =>
      sendRaw(server.port, ["GET /health HTTP/1.1\r\nhost:", ...drip], 50),
    );
    expect((await fetch(`${server.url}/health`)).status).toBe(200);
    expect(await Promise.all(slow)).toHaveLength(50);
  });
});

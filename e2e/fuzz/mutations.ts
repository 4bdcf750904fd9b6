import { fieldsOf } from "./document.ts";
import type { Random } from "./random.ts";
import type { FuzzRequest } from "./request.ts";

/** One way to spoil a request; undefined where it does not apply. */
type Mutation = (request: FuzzRequest, random: Random) => Partial<FuzzRequest> | undefined;

const badText = [
  "",
  "%00",
  "a%00b",
  "%2e%2e",
  "..%2f..%2fetc%2fpasswd",
  "%zz",
  "%",
  "%ff%fe",
  "%ed%a0%80",
  "-1",
  "1e99",
  "NaN",
  "null",
  "[object%20Object]",
  "x".repeat(300),
  "y".repeat(5000),
  "%F0%9F%99%82",
  "a".repeat(20),
  "__proto__",
  "constructor",
];

const badJson: readonly unknown[] = [
  null,
  true,
  0,
  -1,
  1.5,
  2 ** 53,
  1e308,
  "",
  "\u0000",
  "a\u0000b",
  "\ud800",
  "x".repeat(2000),
  "y".repeat(300_000),
  [],
  {},
  [[]],
  { a: { b: {} } },
  "NaN",
  "1",
];

const badTypes = [
  "text/plain",
  "application/json; charset=utf-16",
  "application/xml",
  "multipart/form-data",
  "multipart/form-data; boundary=",
  "application/x-www-form-urlencoded",
  "application/octet-stream",
  "nonsense",
  "application/vnd.api+json",
];

const badHeaders: readonly (readonly [string, string | string[]])[] = [
  ["x-api-key", "wrong"],
  ["x-api-key", ""],
  ["x-api-key", "x".repeat(1000)],
  ["x-api-key", ["one", "two"]],
  ["authorization", "Bearer wrong"],
  ["authorization", "Basic eDp5"],
  ["accept", "text/html"],
  ["accept", "x".repeat(3000)],
  ["accept-encoding", "gzip, br;q=1.0, *;q=0"],
  ["content-encoding", "gzip"],
  ["range", "bytes=5-1"],
  ["range", "bytes=-"],
  ["range", "bytes=-5"],
  ["range", "bytes=99999999999999999999-"],
  ["range", "bytes=0-0,2-3"],
  ["range", "lines=1-2"],
  ["if-none-match", "*"],
  ["if-modified-since", "never"],
  ["x-request-id", "a b\tc"],
  ["x-request-id", "r".repeat(500)],
  ["idempotency-key", "\u00ff"],
  ["idempotency-key", "k".repeat(256)],
  ["idempotency-key", "the same for all"],
  ["expect", "100-continue"],
  ["upgrade", "websocket"],
  ["x-forwarded-for", "127.0.0.1, '; --"],
  ["x-http-method-override", "DELETE"],
  ["x-many", Array.from({ length: 50 }, (_, at) => `v${String(at)}`)],
  ["x-long", "h".repeat(20_000)],
  ["cookie", "a=b; a=c"],
  ["origin", "http://evil.example"],
];

const mutations: Readonly<Record<string, Mutation>> = {
  "a header": ({ headers }, random) => {
    const [name, value] = random.pick(badHeaders);
    return { headers: { ...headers, [name]: value } };
  },
  "no key": ({ headers }) => ({ headers: without(headers, "x-api-key") }),
  "a step of the path": ({ path }, random) => {
    const steps = path.split("/");
    const at = random.int(1, steps.length - 1);
    return { path: steps.with(at, random.pick(badText)).join("/"), isElsewhere: true };
  },
  "a step more": ({ path }, random) => ({
    path: path + random.pick(["/..", "/.", "/%2e%2e/x", "/%00", "/x", ";a=b", "%2f", "/../../../etc/passwd"]),
    isElsewhere: true,
  }),
  "another method": (_, random) => ({ method: random.pick(["PUT", "PATCH", "OPTIONS", "HEAD"]), isElsewhere: true }),
  slashes: ({ path }, random) => ({
    path: random.pick([path.replaceAll("/", "//"), `${path}/`, `/${path}`]),
    isElsewhere: true,
  }),
  "no query": ({ query }) => (query.length === 0 ? undefined : { query: [] }),
  "a value of the query": ({ query }, random) => {
    if (query.length === 0) return undefined;
    const at = random.int(0, query.length - 1);
    const [name = ""] = (query[at] ?? "").split("=");
    return { query: query.with(at, `${name}=${random.pick(badText)}`) };
  },
  "the query twice": ({ query }) => (query.length === 0 ? undefined : { query: [...query, ...query] }),
  "more in the query": ({ query }, random) => ({
    query: [...query, `${random.pick(["a", "__proto__", "path[]", "%00", "limit"])}=${random.pick(badText)}`],
  }),
  "a value of the body": (request, random) => withJson(request, (json) => spoil(json, random)),
  "two values of the body": (request, random) => withJson(request, (json) => spoil(spoil(json, random), random)),
  "a body that is no object": (request, random) => withJson(request, () => random.pick(badJson)),
  "a field too many": (request, random) =>
    withJson(request, (json) => ({ ...fieldsOf(json), [random.pick(["x", "", "a\u0000"])]: random.pick(badJson) })),
  "a field too few": (request, random) =>
    withJson(request, (json) => {
      const names = Object.keys(fieldsOf(json));
      if (names.length === 0) return [];
      const gone = random.pick(names);
      return Object.fromEntries(Object.entries(fieldsOf(json)).filter(([name]) => name !== gone));
    }),
  "a prototype in the body": ({ body }) => (body === undefined ? undefined : { body: Buffer.from(prototypes) }),
  "a deep body": ({ body }, random) => {
    if (body === undefined) return undefined;
    const depth = random.pick([200, 20_000, 200_000]);
    const nested = `${"[".repeat(depth)}${"]".repeat(depth)}`;
    return { body: Buffer.from(random.pick([nested, `{"metadata":{"a":${nested}},"command":${nested}}`])) };
  },
  "half a body": ({ body }, random) =>
    body === undefined ? undefined : { body: body.subarray(0, random.int(0, body.length)) },
  "bytes in the body": ({ body }, random) => {
    if (body === undefined || body.length === 0) return undefined;
    const spoiled = Buffer.from(body);
    for (let times = random.int(1, 5); times > 0; times -= 1)
      spoiled[random.int(0, body.length - 1)] = random.int(0, 255);
    return { body: spoiled };
  },
  "no body": ({ body, headers }, random) => {
    if (body === undefined) return undefined;
    return { body: undefined, headers: random.chance(0.5) ? without(headers, "content-type") : headers };
  },
  "another content type": ({ headers, body }, random) =>
    body === undefined ? undefined : { headers: { ...headers, "content-type": random.pick(badTypes) } },
  "a large body": ({ headers }, random) => ({
    headers: { "content-type": "application/json", ...headers },
    body: Buffer.alloc(random.pick([1_100_000, 3_000_000]), random.pick(['{"a":', " ", "x", "\0"])),
  }),
};

const prototypes =
  '{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"metadata":{"__proto__":{}}}';

/** The request with one to three things wrong. */
export function spoiled(request: FuzzRequest, random: Random): FuzzRequest {
  let result = request;
  for (let times = random.pick([1, 1, 1, 2, 3]); times > 0; times -= 1) {
    const [name, mutate] = random.pick(Object.entries(mutations));
    const change = mutate(result, random);
    if (change !== undefined) result = { ...result, ...change, mutations: [...result.mutations, name] };
  }
  return result;
}

function without(headers: FuzzRequest["headers"], name: string): FuzzRequest["headers"] {
  return Object.fromEntries(Object.entries(headers).filter(([other]) => other !== name));
}

function withJson(request: FuzzRequest, change: (json: unknown) => unknown): Partial<FuzzRequest> | undefined {
  const json = jsonOf(request);
  return json === undefined ? undefined : { body: Buffer.from(JSON.stringify(change(json))) };
}

function jsonOf({ body, headers, mutations: done }: FuzzRequest): unknown {
  // What is nested so deeply can be read, not written.
  if (body === undefined || done.includes("a deep body") || headers["content-type"] !== "application/json")
    return undefined;
  try {
    return JSON.parse(body.toString());
  } catch {
    return undefined;
  }
}

/** One value somewhere in it becomes another. */
function spoil(json: unknown, random: Random): unknown {
  const entries = Object.entries(fieldsOf(json));
  if (entries.length === 0) return random.pick(badJson);
  const at = random.int(0, entries.length - 1);
  return Object.fromEntries(
    entries.map(([name, value], index) => {
      if (index !== at) return [name, value];
      return [
        name,
        Object.keys(fieldsOf(value)).length > 0 && random.chance(0.5) ? spoil(value, random) : random.pick(badJson),
      ];
    }),
  );
}

import type { DocumentedOperation } from "./document.ts";
import { fieldsOf } from "./document.ts";
import { valueOf } from "./values.ts";
import type { Draw } from "./values.ts";

/** A request as it goes out, and what is known of it. */
export interface FuzzRequest {
  readonly method: string;
  /** Percent-encoded, without its query. */
  readonly path: string;
  /** Percent-encoded. */
  readonly query: readonly string[];
  /** By name in lower case; several of one name are sent one by one. */
  readonly headers: Readonly<Record<string, string | string[]>>;
  readonly body: Buffer | undefined;
  /** What was done to it; empty: it is as the document wants it. */
  readonly mutations: readonly string[];
  /** It names something other than its operation now. */
  readonly isElsewhere: boolean;
}

/** A request that the document allows. */
export function requestOf(operation: DocumentedOperation, key: string, draw: Draw): FuzzRequest {
  const { random } = draw;
  const chosen = operation.parameters.filter(({ isRequired }) => isRequired || random.chance(0.4));
  const drawn = chosen.map(({ name, place, schema }) => ({ name, place, value: textOf(valueOf(schema, name, draw)) }));
  const inPath = new Map(drawn.filter(({ place }) => place === "path").map(({ name, value }) => [name, value]));
  const path = operation.path.replaceAll(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(inPath.get(name) ?? ""));
  const inQuery = drawn.filter(({ place }) => place === "query");
  const inHeaders = drawn.filter(({ place }) => place === "header");
  const body = bodyOf(operation, draw);
  const wantsEvents = operation.answers.get(200)?.["text/event-stream"] !== undefined && random.chance(0.5);
  return {
    method: operation.method,
    path,
    query: inQuery.map(({ name, value }) => `${name}=${encodeURIComponent(value)}`),
    headers: {
      "x-api-key": key,
      ...Object.fromEntries(inHeaders.map(({ name, value }) => [name.toLowerCase(), value])),
      ...(body === undefined ? {} : { "content-type": body.type }),
      ...(wantsEvents ? { accept: "text/event-stream" } : {}),
    },
    body: body?.bytes,
    mutations: [],
    isElsewhere: false,
  };
}

/** A value in a path, a query or a header. */
function textOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

interface Content {
  readonly type: string;
  readonly bytes: Buffer;
}

function bodyOf({ body }: DocumentedOperation, draw: Draw): Content | undefined {
  if (body === undefined || (!body.isRequired && draw.random.chance(0.3))) return undefined;
  switch (body.type) {
    case "application/json":
      return { type: body.type, bytes: Buffer.from(JSON.stringify(valueOf(body.schema, "", draw))) };
    case "application/x-www-form-urlencoded": {
      const fields = Object.entries(fieldsOf(valueOf(body.schema, "", draw)));
      const form = new URLSearchParams(Object.fromEntries(fields.map(([name, value]) => [name, String(value)])));
      return { type: body.type, bytes: Buffer.from(form.toString()) };
    }
    case "multipart/form-data":
      return multipartOf(fieldsOf(valueOf(body.schema, "", draw)), draw);
    default:
      return { type: body.type, bytes: fileBytes(draw) };
  }
}

function fileBytes({ random }: Draw): Buffer {
  return Buffer.alloc(random.pick([0, 1, 10, 1000, 70_000]), random.pick(["a", "\0", "\n", "é"]));
}

function multipartOf(fields: Readonly<Record<string, unknown>>, draw: Draw): Content {
  const boundary = "instavm-fuzz";
  const order = Object.entries(fields).toSorted(() => draw.random.next() - 0.5);
  const parts = order.map(([name, value]) => {
    const isFile = name === "file";
    const file = isFile ? `; filename="${draw.random.pick(["a.bin", "../../etc/x", ""])}"` : "";
    const head = `--${boundary}\r\ncontent-disposition: form-data; name="${name}"${file}\r\n`;
    const type = isFile ? "content-type: application/octet-stream\r\n" : "";
    const content = isFile ? fileBytes(draw) : Buffer.from(String(value));
    return Buffer.concat([Buffer.from(`${head}${type}\r\n`), content, Buffer.from("\r\n")]);
  });
  const bytes = Buffer.concat([...parts, Buffer.from(`--${boundary}--\r\n`)]);
  return { type: `multipart/form-data; boundary=${boundary}`, bytes };
}

import type { FileSource, RawBody } from "./file-source.ts";
import { randomUuid } from "./random-uuid.ts";

/**
 * The fields, then the file: the server reads them in this order. Not `FormData`, which makes CR LF of a line break in a field,
 * and a path may hold one.
 */
export function multipartBody(fields: Readonly<Record<string, string>>, file: FileSource): RawBody {
  const boundary = `instavm-${randomUuid()}`;
  const parts = Object.entries(fields).map(
    ([name, value]) => `--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`,
  );
  const fileHead =
    `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n` +
    "Content-Type: application/octet-stream\r\n\r\n";
  const head = parts.join("") + fileHead;
  const tail = `\r\n--${boundary}--\r\n`;
  const contentType = `multipart/form-data; boundary=${boundary}`;
  const body = file instanceof ReadableStream ? between(head, file, tail) : new Blob([head, file, tail]);
  return { body, contentType };
}

function between(head: string, content: ReadableStream<Uint8Array>, tail: string): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  return content.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      start: (controller) => controller.enqueue(encoder.encode(head)),
      flush: (controller) => controller.enqueue(encoder.encode(tail)),
    }),
  );
}

/** What a file is written from: text, bytes, a Blob, or a stream of bytes; the last two are read as they are sent. */
export type FileSource = string | Blob | ArrayBuffer | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>;

/** A body that is no JSON, ready to be sent. */
export interface RawBody {
  readonly body: Blob | ReadableStream<Uint8Array>;
  readonly contentType: string;
}

/** The bytes alone. */
export function bytesBody(source: FileSource): RawBody {
  const body = source instanceof ReadableStream || source instanceof Blob ? source : new Blob([source]);
  return { body, contentType: "application/octet-stream" };
}

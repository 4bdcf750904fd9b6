import { Readable } from "node:stream";
import { downloadLimitBytes, fileLimitBytes, operations, uploadFieldsSchema } from "@instavm/contract";
import type { DownloadResponse } from "@instavm/contract";
import type { Files } from "@instavm/core";
import { base64Of } from "../http/base64-stream.ts";
import { MultipartReader } from "../http/multipart-upload.ts";
import { keyRoute, streamRoute } from "../http/route.ts";
import type { Route } from "../http/route.ts";
import { tooLarge } from "../http/too-large.ts";
import { validate } from "../http/validate.ts";

/** POST /upload and POST /download. */
export function transferRoutes(files: Files): readonly Route[] {
  return [
    streamRoute(operations.upload, async ({ caller, request, signal }) => {
      refuseLongBody(Number(request.headers["content-length"]), operations.upload.bodyLimitBytes);
      using reader = new MultipartReader(request.raw, {
        fields: ["session_id", "remote_path"],
        limitBytes: fileLimitBytes,
      });
      const { fields, content } = await reader.begin();
      const { session_id: sessionId, remote_path: path } = validate(uploadFieldsSchema, fields, "body");
      const upload = { vm: { sessionId }, path, content, limitBytes: fileLimitBytes };
      const written = await files.write(caller, upload, { signal });
      return { status: "success" as const, path: written.path, size: written.bytes };
    }),
    keyRoute(operations.download, async ({ caller, body, signal }) => {
      const { session_id: sessionId, filename } = body;
      const file = await files.read(caller, { vm: { sessionId }, path: filename }, { signal });
      const { sizeBytes } = file.entry;
      if (sizeBytes > downloadLimitBytes) {
        file.cancel();
        throw tooLarge(`The file ${filename}`, sizeBytes, downloadLimitBytes);
      }
      return Readable.from(downloadAnswer(filename, file.content), { objectMode: false });
    }),
  ];
}

function refuseLongBody(bytes: number, limitBytes: number): void {
  if (bytes > limitBytes) throw tooLarge("The request's body", bytes, limitBytes);
}

/** A `DownloadResponse` as JSON, piece by piece. */
async function* downloadAnswer(
  filename: DownloadResponse["filename"],
  content: AsyncIterable<Uint8Array>,
): AsyncGenerator<string, void, undefined> {
  let size = 0;
  const counted = async function* (): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const piece of content) {
      size += piece.length;
      yield piece;
    }
  };
  yield `{"filename":${JSON.stringify(filename)},"content":"`;
  yield* base64Of(counted());
  // Clients take an empty text for no content at all.
  yield `${size === 0 ? String.raw`\n` : ""}","size":${size}}`;
}

import { Readable } from "node:stream";
import { fileLimitBytes, InstaVmError, operations } from "@instavm/contract";
import type { VmId } from "@instavm/contract";
import type { FileOwner, Files, OpenedFile, ReadRequest } from "@instavm/core";
import type { FastifyReply, FastifyRequest } from "fastify";
import { changeAnswer, fileAnswer } from "../answers/file-answers.ts";
import { parseRange } from "../http/byte-range.ts";
import { errorBody, toInstaVmError } from "../http/error-answer.ts";
import { EventStream } from "../http/event-stream.ts";
import { requestBytes } from "../http/request-bytes.ts";
import { answered, keyRoute, streamRoute } from "../http/route.ts";
import type { Exchange, Route, StreamCall } from "../http/route.ts";

/** What the routes stand on. */
export interface VmFileParts {
  readonly files: Files;
  /** Of watches. */
  readonly heartbeatMs: number;
}

/** /v1/vms/{vm_id}/files. */
export function vmFileRoutes({ files, heartbeatMs }: VmFileParts): readonly Route[] {
  return [
    keyRoute(operations.readFile, async ({ caller, params, query, signal, exchange }) => {
      const place = placeOf(params, query);
      if (exchange.request.method === "HEAD") {
        const entry = await files.stat(caller, { ...place, follow: true }, { signal });
        return sendHead(exchange.reply, entry);
      }
      const size = async (): Promise<number> =>
        (await files.stat(caller, { ...place, follow: true }, { signal })).sizeBytes;
      const range = await rangeOf(exchange.request, size);
      return sendFile(exchange, await files.read(caller, { ...place, ...range }, { signal }), range);
    }),
    streamRoute(operations.writeFile, async ({ caller, params, query, signal, request }) => {
      const options = { ...modeOf(query.mode), ...ownerOf(query), mustBeNew: query.must_be_new === "true" };
      const content = requestBytes(request, fileLimitBytes);
      const upload = { ...placeOf(params, query), ...options, content, limitBytes: fileLimitBytes };
      const written = await files.write(caller, upload, { signal });
      return { path: written.path, size: written.bytes };
    }),
    keyRoute(operations.removeFile, async ({ caller, params, query, signal }) => {
      const recursive = query.recursive === "true";
      return { removed: await files.remove(caller, { ...placeOf(params, query), recursive }, { signal }) };
    }),
    keyRoute(operations.changeFile, async ({ caller, params, query, body, signal }) => {
      const change = { ...placeOf(params, query), ...modeOf(body.mode), ...ownerOf(body) };
      return fileAnswer(await files.change(caller, change, { signal }));
    }),
    keyRoute(operations.statFile, async ({ caller, params, query, signal }) => {
      const follow = query.follow === "true";
      return fileAnswer(await files.stat(caller, { ...placeOf(params, query), follow }, { signal }));
    }),
    keyRoute(operations.listFiles, async ({ caller, params, query, signal }) => {
      const { after, limit } = query;
      const page = { ...placeOf(params, query), limit, ...(after === undefined ? {} : { after }) };
      const { entries, hasMore } = await files.list(caller, page, { signal });
      return { entries: entries.map(fileAnswer), has_more: hasMore };
    }),
    keyRoute(operations.makeDirectory, async ({ caller, params, body, signal }) => {
      const options = { makeParents: body.parents, ...modeOf(body.mode), ...ownerOf(body) };
      return fileAnswer(await files.makeDirectory(caller, { ...placeOf(params, body), ...options }, { signal }));
    }),
    keyRoute(operations.moveFile, async ({ caller, params, body, signal }) => {
      const { from, to, overwrite, parents: makeParents } = body;
      const move = { vm: { vmId: params.vm_id }, from, to, overwrite, makeParents };
      return fileAnswer(await files.move(caller, move, { signal }));
    }),
    keyRoute(operations.readTree, async ({ caller, params, query, signal, exchange }) => {
      if (exchange.request.method === "HEAD") {
        await files.stat(caller, { ...placeOf(params, query), follow: true }, { signal });
        return sendBytes(exchange.reply, "application/x-tar", Readable.from([]));
      }
      const tree = await files.readTree(caller, placeOf(params, query), { signal });
      return sendBytes(exchange.reply, "application/x-tar", Readable.from(tree, { objectMode: false }));
    }),
    streamRoute(operations.writeTree, async ({ caller, params, query, signal, request }) => {
      const owner = query.archive_owners === "true" ? { owner: "archive" as const } : ownerOf(query);
      const content = requestBytes(request, fileLimitBytes);
      const tree = { ...placeOf(params, query), ...owner, content, limitBytes: fileLimitBytes };
      const { bytes, entries, skipped } = await files.writeTree(caller, tree, { signal });
      return { size: bytes, entries, skipped };
    }),
    streamRoute(operations.watchFiles, (call) => answerWatch(call, files, heartbeatMs)),
  ];
}

function placeOf(
  params: { readonly vm_id: VmId },
  { path }: { readonly path: string },
): { readonly vm: { readonly vmId: VmId }; readonly path: string } {
  return { vm: { vmId: params.vm_id }, path };
}

function modeOf(mode: string | undefined): { readonly mode?: number } {
  return mode === undefined ? {} : { mode: Number.parseInt(mode, 8) };
}

function ownerOf({ user, group }: { readonly user?: string | undefined; readonly group?: string | undefined }): {
  readonly owner?: FileOwner;
} {
  if (user === undefined && group === undefined) return {};
  return { owner: { ...(user === undefined ? {} : { user }), ...(group === undefined ? {} : { group }) } };
}

type Range = Required<Pick<ReadRequest, "offset">> & Pick<ReadRequest, "length">;

/** What part the client asks for; undefined = the whole. `size` is asked only when the end counts. */
async function rangeOf(request: FastifyRequest, size: () => Promise<number>): Promise<Range | undefined> {
  const range = parseRange(request.headers.range);
  if (range === undefined) return undefined;
  if (range.kind === "last") return { offset: Math.max(0, (await size()) - range.length) };
  return { offset: range.offset, ...(range.length === undefined ? {} : { length: range.length }) };
}

async function sendFile({ reply }: Exchange, file: OpenedFile, range: Range | undefined): Promise<typeof answered> {
  const { sizeBytes } = file.entry;
  const { offset = 0, length = sizeBytes } = range ?? {};
  const endBytes = Math.min(offset + length, sizeBytes);
  if (range !== undefined && offset >= sizeBytes) {
    file.cancel();
    reply.header("content-range", `bytes */${sizeBytes}`);
    throw new InstaVmError("range_not_satisfiable", `The file has ${sizeBytes} bytes; byte ${offset} was asked for.`);
  }
  setFileHeaders(reply, file.entry);
  if (range !== undefined) {
    reply.code(206).header("content-range", `bytes ${offset}-${endBytes - 1}/${sizeBytes}`);
  }
  // Files of /proc have no size, and content all the same.
  if (sizeBytes > 0) reply.header("content-length", endBytes - offset);
  return sendBytes(reply, "application/octet-stream", Readable.from(file.content, { objectMode: false }));
}

function sendHead(reply: FastifyReply, entry: OpenedFile["entry"]): typeof answered {
  if (entry.type === "directory") throw new InstaVmError("invalid", `${entry.name} is a directory, expected a file.`);
  setFileHeaders(reply, entry);
  reply.header("content-type", "application/octet-stream").header("content-length", entry.sizeBytes);
  reply.hijack();
  for (const [name, value] of Object.entries(reply.getHeaders())) {
    if (value !== undefined) reply.raw.setHeader(name, value);
  }
  reply.raw.end();
  return answered;
}

function setFileHeaders(reply: FastifyReply, entry: OpenedFile["entry"]): void {
  const { sizeBytes, modifiedMs } = entry;
  const { mode, modified_at: modifiedAt } = fileAnswer(entry);
  reply
    .header("accept-ranges", "bytes")
    .header("last-modified", new Date(modifiedAt).toUTCString())
    .header("etag", `"${sizeBytes.toString(36)}-${Math.floor(modifiedMs).toString(36)}"`)
    .header("x-file-mode", mode);
}

function sendBytes(reply: FastifyReply, type: string, bytes: Readable): typeof answered {
  void reply.header("content-type", type).send(bytes);
  return answered;
}

type WatchCall = StreamCall<(typeof operations.watchFiles)["params"], (typeof operations.watchFiles)["query"]>;

/** Events until the client leaves or what is watched is removed. */
async function answerWatch(call: WatchCall, files: Files, heartbeatMs: number): Promise<typeof answered> {
  const { caller, params, query, signal, request, reply } = call;
  const recursive = query.recursive === "true";
  const place = placeOf(params, query);
  using stream = new EventStream(reply, { heartbeatMs });
  if (request.method === "HEAD") {
    await files.stat(caller, { ...place, follow: true }, { signal });
    stream.open();
    return answered;
  }
  const changes = await files.watch(caller, { ...place, recursive }, { signal });
  stream.open();
  try {
    for await (const change of changes) await stream.send(change.type, changeAnswer(change));
  } catch (error) {
    await stream.send("error", errorBody(toInstaVmError(error, request), request.id));
  }
  return answered;
}

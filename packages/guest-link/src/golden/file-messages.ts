import type { MessageInitShape } from "@bufbuild/protobuf";
import {
  ChangeFileSchema,
  DirectoryListedSchema,
  FileEntrySchema,
  FileEventKind,
  FileEventSchema,
  FileRemovedSchema,
  FileType,
  ListDirectorySchema,
  MakeDirectorySchema,
  MoveFileSchema,
  OpenSchema,
  OutcomeSchema,
  OutputSchema,
  ReadFileSchema,
  ReadTreeSchema,
  RemoveFileSchema,
  StatFileSchema,
  TreeReadSchema,
  TreeWrittenSchema,
  WatchEndedSchema,
  WatchFilesSchema,
  WriteFileSchema,
  WriteTreeSchema,
} from "@instavm/protocol/guest";
import { ascii } from "./bytes.ts";
import { type MessageVector, vector } from "./message-vector.ts";

/** A name that is no UTF-8. */
const rawName = Uint8Array.of(0x2d, 0x0a, 0xff, 0xfe);

const requests = (): MessageVector[] => [
  vector("read a file, announced", ReadFileSchema, { path: rawName, announce: true }),
  vector("write a new file of a user", WriteFileSchema, {
    path: ascii("a"),
    user: "user",
    group: "7",
    mustBeNew: true,
  }),
  vector("list a directory", ListDirectorySchema, { path: ascii("/"), limit: 1000 }),
  vector("list a directory, next page", ListDirectorySchema, { path: ascii("."), after: rawName, limit: 1 }),
  vector("stat a file", StatFileSchema, { path: ascii("/etc"), follow: true }),
  vector("make a directory", MakeDirectorySchema, {
    path: ascii("a/b"),
    makeParents: true,
    mode: 0o700,
    user: "1000",
    group: "users",
  }),
  vector("move a file", MoveFileSchema, { from: ascii("a"), to: ascii("b"), overwrite: true, makeParents: true }),
  vector("remove a file", RemoveFileSchema, { path: ascii("a") }),
  vector("remove a tree", RemoveFileSchema, { path: ascii("a"), recursive: true }),
  vector("change a mode to 0", ChangeFileSchema, { path: ascii("a"), mode: 0 }),
  vector("change an owner", ChangeFileSchema, { path: ascii("a"), user: "user", group: "users" }),
  vector("read a tree", ReadTreeSchema, { path: ascii("/app") }),
  vector("write a tree", WriteTreeSchema, {
    path: ascii("/app"),
    makeParents: true,
    sizeLimitBytes: 1n << 31n,
    user: "user",
    group: "users",
  }),
  vector("write a tree with its owners", WriteTreeSchema, { path: ascii("."), keepOwners: true }),
  vector("watch a file", WatchFilesSchema, { path: ascii("a") }),
  vector("watch a tree", WatchFilesSchema, { path: ascii("/app"), recursive: true }),
];

const entry = {
  name: rawName,
  type: FileType.SYMLINK,
  size: 4n,
  mode: 0o777,
  uid: 1000,
  gid: 4_294_967_294,
  user: "user",
  modifiedNs: -1n,
  linkTarget: ascii("/a/b"),
} satisfies MessageInitShape<typeof FileEntrySchema>;

const answers = (): MessageVector[] => [
  vector("entry, a link", FileEntrySchema, entry),
  ...[FileType.FILE, FileType.DIRECTORY, FileType.OTHER].map((type) =>
    vector(`entry, ${FileType[type]}`, FileEntrySchema, { name: ascii("a"), type, group: "users" }),
  ),
  vector("directory listed", DirectoryListedSchema, { hasMore: true }),
  vector("file removed", FileRemovedSchema, { entries: 3n }),
  vector("tree read", TreeReadSchema, { bytes: 10_240n, entries: 2n, skipped: 1n }),
  vector("tree written", TreeWrittenSchema, { bytes: 5n, entries: 2n, skipped: 1n }),
  vector("watch ended", WatchEndedSchema, {}),
  ...[
    FileEventKind.READY,
    FileEventKind.CREATED,
    FileEventKind.MODIFIED,
    FileEventKind.ATTRIBUTES,
    FileEventKind.REMOVED,
    FileEventKind.OVERFLOW,
    FileEventKind.UNWATCHED,
  ].map((kind) => vector(`file event ${FileEventKind[kind]}`, FileEventSchema, { kind, path: ascii("a/b") })),
  vector("file event MOVED", FileEventSchema, {
    kind: FileEventKind.MOVED,
    path: ascii("b"),
    fromPath: rawName,
    isDirectory: true,
  }),
  vector("output entry", OutputSchema, { output: { case: "entry", value: entry } }),
  vector("output file event", OutputSchema, { output: { case: "fileEvent", value: { kind: FileEventKind.READY } } }),
];

const opens = (): MessageVector[] => {
  const path = ascii("/a");
  const cases: NonNullable<MessageInitShape<typeof OpenSchema>["call"]>[] = [
    { case: "listDirectory", value: { path, limit: 10 } },
    { case: "statFile", value: { path } },
    { case: "makeDirectory", value: { path } },
    { case: "moveFile", value: { from: path, to: path } },
    { case: "removeFile", value: { path } },
    { case: "changeFile", value: { path } },
    { case: "readTree", value: { path } },
    { case: "writeTree", value: { path } },
    { case: "watchFiles", value: { path } },
  ];
  return cases.map((call) => vector(`open ${call.case}`, OpenSchema, { creditBytes: 65_536, call }));
};

const outcomes = (): MessageVector[] => {
  const cases: NonNullable<MessageInitShape<typeof OutcomeSchema>["outcome"]>[] = [
    { case: "directoryListed", value: {} },
    { case: "entry", value: entry },
    { case: "fileRemoved", value: { entries: 1n } },
    { case: "treeRead", value: { bytes: 1024n } },
    { case: "treeWritten", value: { entries: 1n } },
    { case: "watchEnded", value: {} },
  ];
  return cases.map((outcome) => vector(`outcome ${outcome.case}`, OutcomeSchema, { outcome }));
};

/** The messages about files beside reading and writing one. */
export const fileVectors = (): MessageVector[] => [...requests(), ...answers(), ...opens(), ...outcomes()];

/** One package, and what it may import. */
export interface Room {
  readonly folder: string;
  readonly imports: readonly string[];
  /** Files whose path begins so may import `node`, and no other file of the room may import them. */
  readonly onlyInNode?: string;
}

/**
 * Who may import whom, by package name: the walls of the architecture. What is not listed is not allowed;
 * `node` stands for all of `node:*`. Tests may also use what `testImports` lists.
 */
export const rooms: Readonly<Record<string, Room>> = {
  "@instavm/contract": { folder: "packages/contract", imports: ["zod"] },
  "@instavm/core": { folder: "packages/core", imports: ["@instavm/contract"] },
  "@instavm/process": { folder: "packages/process", imports: ["node", "@instavm/contract"] },
  "@instavm/api": {
    folder: "packages/api",
    imports: ["node", "@instavm/contract", "@instavm/core", "@fastify/busboy", "fastify", "zod"],
  },
  "@instavm/vmm": { folder: "packages/vmm", imports: adapter("zod", "@bufbuild/protobuf", "@instavm/protocol") },
  "@instavm/guest-link": {
    folder: "packages/guest-link",
    imports: adapter("@bufbuild/protobuf", "@instavm/protocol"),
  },
  "@instavm/images": { folder: "packages/images", imports: adapter("zod") },
  "@instavm/store": { folder: "packages/store", imports: adapter("zod", "kysely") },
  "@instavm/testkit": {
    folder: "packages/testkit",
    imports: ["node", "vitest", "@instavm/contract", "@instavm/core", "@instavm/process"],
  },
  "@instavm/server": {
    folder: "apps/server",
    imports: [
      ...adapter("zod"),
      "@instavm/api",
      "@instavm/vmm",
      "@instavm/guest-link",
      "@instavm/images",
      "@instavm/store",
    ],
  },
  instavm: {
    folder: "sdk/typescript",
    imports: ["@instavm/contract", "zod"],
    onlyInNode: "sdk/typescript/src/node",
  },
  "@instavm/cli": { folder: "apps/cli", imports: ["node", "commander", "instavm"] },
  "@instavm/e2e": { folder: "e2e", imports: ["node", "vitest", "ajv", "instavm"] },
  "@instavm/script": { folder: "script", imports: ["node", "vitest", "@instavm/contract", "@instavm/e2e", "instavm"] },
};

/** What a test may import beyond its room's own list. */
export const testImports: readonly string[] = ["node", "vitest", "@instavm/testkit"];

function adapter(...further: readonly string[]): readonly string[] {
  return ["node", "@instavm/contract", "@instavm/core", "@instavm/process", ...further];
}

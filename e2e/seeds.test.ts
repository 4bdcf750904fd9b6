import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { GuideReader } from "./support/guide-reader.ts";
import { RealServer } from "./support/real-server.ts";
import { isAsShown } from "./support/shown-output.ts";
import { snippetsOf } from "./support/snippets.ts";
import type { Snippet, SnippetKind } from "./support/snippets.ts";

/** The slowest machine under load; some seconds on a quiet one. */
const pageWithin = { timeout: 400_000 };
const directory = join(import.meta.dirname, "seeds");
/** What people type who know the hosted product, page by page; `python` there is meant for either client. */
const pages = readdirSync(directory)
  .toSorted()
  .map((name) => ({ name, snippets: snippetsOf(readFileSync(join(directory, name), "utf8")) }));

let server: RealServer;

beforeAll(async () => {
  server = await RealServer.start();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

/** Puts one's own key where a snippet says so and, for the published client, the base URL behind it: the one line that changes. */
function withOwnKey(code: string, apiKey: string, kind: SnippetKind): string {
  const key = /(["']?)(your_api_key|sk_instavm_\.\.\.)\1/g;
  return code.replaceAll(key, (_, quote: string) => {
    const own = `${quote}${apiKey}${quote}`;
    return kind === "published" ? `${own}, base_url=${quote}${server.baseUrl}${quote}` : own;
  });
}

/** Follows a page with one Python client; each snippet that fails or prints something else than shown, with what it printed. */
async function failures(snippets: readonly Snippet[], python: "python" | "published"): Promise<readonly string[]> {
  await using reader = await GuideReader.open(server);
  const failed: string[] = [];
  for (const { kind: written, code, line, output } of snippets) {
    const kind = written === "python" ? python : written;
    const { exitCode, stdout, stderr } = await reader.follows({ kind, code: withOwnKey(code, reader.apiKey, kind) });
    // The published client itself says there what happens to a session that it leaves.
    const printed = stdout.replaceAll(/^Info: Session .*\n/gm, "");
    const isGood = exitCode === 0 && output !== undefined && isAsShown(output, printed);
    if (!isGood) failed.push(`line ${String(line)}: exit code ${String(exitCode)}\n${printed}${stderr}`);
  }
  return failed;
}

test("there are pages to follow", () => {
  expect(pages.map(({ name }) => name)).toEqual(["landing.md", "sandboxes.md"]);
});

test.for(pages)(
  "$name: this project's clients, the command line and HTTP do what it shows",
  pageWithin,
  async (page) => {
    expect(await failures(page.snippets, "python")).toEqual([]);
  },
);

test.for(pages)("$name: so does the published Python client, with one line changed", pageWithin, async (page) => {
  const inPython = page.snippets.filter(({ kind }) => kind === "python");
  expect(await failures(inPython, "published")).toEqual([]);
});

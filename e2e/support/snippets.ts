/** How a snippet is run. `published` is Python with the published client. */
export type SnippetKind = "sh" | "ts" | "python" | "published";

/** What a page says that a snippet prints to stdout. */
export interface ShownOutput {
  readonly kind: "text" | "json";
  readonly text: string;
}

/** One code block that a reader types or saves. */
export interface Snippet {
  /** Of the line with the opening fence, from 1. */
  readonly line: number;
  readonly kind: SnippetKind;
  /** False for a block that says `no-run`. */
  readonly isRun: boolean;
  readonly code: string;
  /** Undefined when the page shows none. */
  readonly output: ShownOutput | undefined;
}

interface Block {
  readonly line: number;
  /** All that stands behind the opening fence. */
  readonly info: string;
  readonly content: string;
  /** Nothing but empty lines stands between this block and the one before. */
  readonly followsBlock: boolean;
}

const kinds: Readonly<Record<string, SnippetKind>> = {
  sh: "sh",
  ts: "ts",
  python: "python",
  "python published": "published",
};

/**
 * The snippets of a Markdown page, in order. A block of `text` or `json` right behind a snippet is its output; elsewhere
 * `text` and `json` are no snippets. Throws for every other kind of block, and for a fence that never ends.
 */
export function snippetsOf(markdown: string): readonly Snippet[] {
  const blocks = blocksOf(markdown);
  return blocks.flatMap((block, index): readonly Snippet[] => {
    if (outputKind(block.info) !== undefined) return [];
    const kind = kinds[block.info.replace(/ no-run$/, "")];
    if (kind === undefined) throw new Error(`line ${String(block.line)}: a block of the unknown kind "${block.info}"`);
    const isRun = !block.info.endsWith(" no-run");
    return [{ line: block.line, kind, isRun, code: block.content, output: outputOf(blocks[index + 1]) }];
  });
}

function outputOf(next: Block | undefined): ShownOutput | undefined {
  const kind = next === undefined ? undefined : outputKind(next.info);
  return kind === undefined || next?.followsBlock !== true ? undefined : { kind, text: next.content };
}

function outputKind(info: string): ShownOutput["kind"] | undefined {
  return info === "text" || info === "json" ? info : undefined;
}

function blocksOf(markdown: string): readonly Block[] {
  const blocks: Block[] = [];
  let open: { line: number; info: string; content: string[]; followsBlock: boolean } | undefined;
  let isBehindBlock = false;
  for (const [index, text] of markdown.split("\n").entries()) {
    const fence = /^\s*```(.*)$/.exec(text);
    if (open === undefined && fence !== null) {
      open = { line: index + 1, info: (fence[1] ?? "").trim(), content: [], followsBlock: isBehindBlock };
    } else if (open !== undefined && fence !== null) {
      blocks.push({ ...open, content: open.content.map((line) => `${line}\n`).join("") });
      [open, isBehindBlock] = [undefined, true];
    } else if (open !== undefined) open.content.push(text);
    else if (text.trim() !== "") isBehindBlock = false;
  }
  if (open !== undefined) throw new Error(`line ${String(open.line)}: the block never ends`);
  return blocks;
}

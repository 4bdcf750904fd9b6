import type { Command } from "commander";
import { commandTree } from "./command-tree.ts";
import type { CommandNode } from "./command-tree.ts";

const head = `# The command line

Made from the program itself by \`node apps/cli/src/write-reference.ts\`; each command says the same with \`--help\`.
`;

/** All commands with their arguments, options and examples, as Markdown. */
export function commandReference(program: Command): string {
  return [head, ...commandTree(program).map(section)].join("\n");
}

function section(node: CommandNode): string {
  const { path, command } = node;
  const title = ["instavm", ...path].join(" ");
  return `${"#".repeat(path.length === 0 ? 2 : 3)} ${title}\n\n\`\`\`text\n${helpOf(command)}\n\`\`\`\n`;
}

/** What \`--help\` prints, on lines of a fixed length and without colours. */
function helpOf(command: Command): string {
  let text = "";
  command.configureOutput({
    writeOut: (written) => {
      text += written;
    },
    getOutHelpWidth: () => 110,
    getOutHasColors: () => false,
  });
  command.outputHelp();
  return text.trimEnd();
}

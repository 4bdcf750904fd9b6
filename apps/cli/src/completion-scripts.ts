import type { Command } from "commander";
import { commandTree } from "./command-tree.ts";
import type { CommandNode } from "./command-tree.ts";

export type Shell = "bash" | "zsh" | "fish";

/** A script that completes commands, options and file names. It knows the commands of this release. */
export function completionScript(program: Command, shell: Shell): string {
  const tree = commandTree(program);
  switch (shell) {
    case "bash":
      return bashScript(tree);
    case "zsh":
      return zshScript(tree);
    case "fish":
      return fishScript(tree);
  }
}

/** Names of the commands below one, their aliases too, its options, and what its arguments can be. */
function wordsOf({ command }: CommandNode): readonly string[] {
  const commands = command.commands.flatMap((below) => [below.name(), ...below.aliases()]);
  const help = command.createHelp().visibleOptions(command);
  const choices = command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []);
  return [
    ...commands,
    ...choices,
    ...help.flatMap(({ short, long }) => [short, long].filter((flag) => flag !== undefined)),
  ];
}

function takesFiles({ command }: CommandNode): boolean {
  return command.registeredArguments.some(({ argChoices }) => argChoices === undefined);
}

/** `case` arms: each path of words that leads to a command, aliases too, and what may come behind it. */
function arms(tree: readonly CommandNode[], body: (words: string) => string): string {
  return tree
    .map(
      (node) =>
        `    ${spellings(node).map(quoted).join("|")}) ${body(wordsOf(node).join(" "))}${takesFiles(node) ? " files=yes" : ""} ;;`,
    )
    .join("\n");
}

/** The paths that mean a command: `vm update` and `vms update`. */
function spellings({ path, command }: CommandNode): readonly string[] {
  if (command.parent === null) return [""];
  const parents = spellings({ path: path.slice(0, -1), command: command.parent });
  const own = [command.name(), ...command.aliases()];
  return parents.flatMap((parent) => own.map((name) => (parent === "" ? name : `${parent} ${name}`)));
}

function quoted(text: string): string {
  return `"${text}"`;
}

function allSpellings(tree: readonly CommandNode[]): string {
  return tree
    .flatMap(spellings)
    .filter((path) => path !== "")
    .map(quoted)
    .join("|");
}

function bashScript(tree: readonly CommandNode[]): string {
  return `# Completion of instavm for Bash.
_instavm() {
  local current=\${COMP_WORDS[COMP_CWORD]} path="" words="" files="" next index
  for ((index = 1; index < COMP_CWORD; index += 1)); do
    next=\${path:+$path }\${COMP_WORDS[index]}
    case $next in
      ${allSpellings(tree)}) path=$next ;;
    esac
  done
  case $path in
${arms(tree, (words) => `words="${words}"`)}
  esac
  mapfile -t COMPREPLY < <(
    compgen -W "$words" -- "$current"
    [[ $files == "" || $current == -* ]] || compgen -f -- "$current"
  )
}
complete -o filenames -F _instavm instavm
`;
}

function zshScript(tree: readonly CommandNode[]): string {
  return `#compdef instavm
# Completion of instavm for zsh.
_instavm() {
  local known="" files="" next word
  local -a candidates
  for word in "\${(@)words[2,CURRENT-1]}"; do
    next="\${known:+$known }$word"
    case "$next" in
      ${allSpellings(tree)}) known="$next" ;;
    esac
  done
  case "$known" in
${arms(tree, (words) => `candidates=(${words})`)}
  esac
  compadd -- $candidates
  [[ -z "$files" || "$PREFIX" == -* ]] || _files
}
compdef _instavm instavm
`;
}

function fishScript(tree: readonly CommandNode[]): string {
  const withoutFiles = tree
    .filter((node) => !takesFiles(node))
    .flatMap(spellings)
    .map(quoted)
    .join(" ");
  const lines = tree.flatMap((node) => {
    const within = spellings(node)
      .map((path) => `"${path}"`)
      .join(" ");
    return wordsOf(node).map((word) => `complete -c instavm -n '__instavm_in ${within}' -a '${word}'`);
  });
  return `# Completion of instavm for fish.
function __instavm_in
  set -l known ""
  for word in (commandline -opc)[2..-1]
    set -l next (string trim -- "$known $word")
    contains -- "$next" ${allSpellings(tree).replaceAll("|", " ")}; and set known $next
  end
  contains -- "$known" $argv
end
complete -c instavm -n '__instavm_in ${withoutFiles}' -f
${lines.join("\n")}
`;
}

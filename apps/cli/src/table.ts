import { styleText } from "node:util";

/** Columns for people: headings, rows, two spaces between. Headings are dim on a terminal. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = [headings, ...rows].reduce<readonly number[]>(
    (widest, row) => row.map((cell, column) => Math.max(cell.length, widest[column] ?? 0)),
    [],
  );
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd();
  return `${[styleText("dim", line(headings)), ...rows.map(line)].join("\n")}\n`;
}

/** Names and values, one a line. */
export function facts(values: readonly (readonly [string, string])[]): string {
  const width = Math.max(...values.map(([name]) => name.length));
  return values.map(([name, value]) => `${styleText("dim", name.padEnd(width))}  ${value}\n`).join("");
}

/** Text of others on one line of a table: what a terminal would obey is shown as `�`. */
export function plain(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, "\u{fffd}");
}

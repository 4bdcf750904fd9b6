import type { Figure } from "./result.ts";

const columns = ["", "median", "p95", "min", "max", "n", "unit", "promised"] as const;

/** The figures as a Markdown table. */
export function table(figures: readonly Figure[]): string {
  const rows = figures.map((figure) => [
    figure.name,
    format(figure.summary.median),
    format(figure.summary.p95),
    format(figure.summary.min),
    format(figure.summary.max),
    String(figure.summary.n),
    figure.unit,
    figure.promise ?? "",
  ]);
  const lines = [columns, columns.map((_, index) => (index === 0 ? "---" : "---:")), ...rows];
  return lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

function format(value: number): string {
  if (Number.isInteger(value)) return String(value);
  return value < 10 ? value.toFixed(2) : value.toFixed(1);
}

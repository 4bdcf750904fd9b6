/** HTML that is safe to put into a page: made by `markup`. */
export interface Html {
  readonly markup: string;
}

/** What can stand between the parts of a template: text is escaped. */
type Part = string | number | Html | readonly Html[];

/** Makes HTML from a template; every text in it is escaped. */
export function markup(parts: TemplateStringsArray, ...values: readonly Part[]): Html {
  return { markup: parts.map((part, index) => part + textOf(values[index])).join("") };
}

/** Text in which `words in backticks` are shown as code. */
export function prose(text: string): Html {
  const parts = text
    .split("`")
    .map((part, index) => (index % 2 === 1 ? markup`<code>${part}</code>` : markup`${part}`));
  return markup`${parts}`;
}

function textOf(value: Part | undefined): string {
  if (value === undefined) return "";
  if (typeof value === "string" || typeof value === "number") return escape(String(value));
  return "markup" in value ? value.markup : value.map((one) => one.markup).join("");
}

function escape(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}

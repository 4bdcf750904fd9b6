/** HTML that is safe to put into a page: made by `html` or by `escaped`. */
export interface Html {
  readonly markup: string;
}

/** What can stand between the parts of a template: text is escaped. */
type Part = string | number | Html | readonly Html[];

/** Makes HTML from a template; every text in it is escaped. */
export function html(parts: TemplateStringsArray, ...values: readonly Part[]): Html {
  const markup = parts.map((part, index) => part + markupOf(values[index])).join("");
  return { markup };
}

/** Text in which `words in backticks` are shown as code. */
export function prose(text: string): Html {
  const parts = text.split("`").map((part, index) => (index % 2 === 1 ? html`<code>${part}</code>` : html`${part}`));
  return html`${parts}`;
}

function markupOf(value: Part | undefined): string {
  if (value === undefined) return "";
  if (typeof value === "string" || typeof value === "number") return escape(String(value));
  return "markup" in value ? value.markup : value.map(({ markup }) => markup).join("");
}

function escape(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}

import { errorTable, operationGroups, operationReferences } from "@instavm/contract";
import type { FieldReference, OperationReference } from "@instavm/contract";
import { markup, prose } from "./html.ts";
import type { Html } from "./html.ts";
import { pageStyle } from "./style.ts";

/** The API as a page for people, made of the contract alone. It loads nothing and runs nothing. */
export function apiPage(version: string): string {
  const all = operationReferences();
  const groups = operationGroups.flatMap(({ name, description }) => {
    const own = all.filter(({ group }) => group === name);
    return own.length === 0 ? [] : [{ name, description, own }];
  });
  const contents = groups.map(
    ({ name, own }) =>
      markup`<a href="#${name}"><strong>${name}</strong></a>
        <ul>
          ${own.map(contentsLine)}
        </ul>`,
  );
  const chapters = groups.map(
    ({ name, description, own }) =>
      markup`<h2 id="${name}">${name}</h2>
        <p>${prose(description)}</p>
        ${own.map(section)}`,
  );
  const page = markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>InstaVM API</title>
<style>${{ markup: pageStyle }}</style>
</head>
<body>
<div class="page">
<nav aria-label="Contents">${contents}<a href="#errors"><strong>Errors</strong></a></nav>
<main>
<h1>InstaVM API <small>${version}</small></h1>
${introduction}${chapters}${errors()}
</main>
</div>
</body>
</html>
`;
  return page.markup;
}

const introduction = markup`<p>
    Runs code that nobody has read in microVMs of your own. For programs, the same as an
    <a href="/openapi.json">OpenAPI 3.1 document</a>.
  </p>
  <ul>
    <li>Send the key as <code>X-API-Key: KEY</code> or <code>Authorization: Bearer KEY</code>.</li>
    <li>Bodies and answers are JSON where nothing else is said. What succeeds is answered with status 200.</li>
    <li>Every path works with and without a final slash, but for <code>/v1/vms</code> and <code>/v1/vms/</code>.</li>
    <li>Times are UTC in whole seconds: <code>2026-01-02T03:04:05Z</code>.</li>
    <li><code>X-Request-ID</code> of an answer names the request in the server's log.</li>
  </ul>`;

function contentsLine({ name, method, path }: OperationReference): Html {
  return markup`<li><a href="#${name}" title="${method} ${path}">${method} ${path}</a></li>`;
}

function section(operation: OperationReference): Html {
  const { name, method, path, summary, access } = operation;
  const { parameters, body, bodyType, bodyExample } = operation;
  return markup`<section id="${name}">
    <h3><span class="method">${method}</span> ${path}</h3>
    <p>${prose(summary)}. ${accessTexts[access]}</p>
    ${fieldTable("Parameters", parameters)}${fieldTable(`Body, ${bodyType}`, body)}
    ${
      bodyExample === undefined
        ? markup``
        : markup`<h4>Example</h4>
            <pre>${curl(operation)}</pre>`
    }
    ${answerSection(operation)}
    <p class="note">
      Errors:
      ${operation.errors.map(({ code, status }) => markup`<a href="#error-${code}"><code>${code}</code></a> (${status}) `)}
    </p>
  </section>`;
}

const accessTexts: Readonly<Record<OperationReference["access"], string>> = {
  open: "Needs no key.",
  key: "",
  "key-or-body": "The key may also be in the body.",
  admin: "Needs an admin's key.",
};

function answerSection({ answerTypes, isList, answer, answerExample }: OperationReference): Html {
  const others = answerTypes.filter((type) => type !== "application/json");
  const names = others.map((type) => markup` <code>${type}</code>`);
  if (others.length === answerTypes.length) return markup`<h4>Answer</h4><p>${names}</p>`;
  return markup`${fieldTable(isList ? "Answer, a list of" : "Answer", answer)}
    ${others.length === 0 ? "" : markup`<p class="note">When <code>Accept</code> asks for it:${names}.</p>`}
    <details>
      <summary>Example of an answer</summary>
      <pre>${JSON.stringify(answerExample, null, 2)}</pre>
    </details>`;
}

function fieldTable(title: string, fields: readonly FieldReference[]): Html {
  if (fields.length === 0) return markup``;
  return markup`<h4>${title}</h4>
    <div class="wide">
      <table>
        <thead>
          <tr>
            <th>Name</th>
            <th>Type</th>
            <th>Meaning</th>
          </tr>
        </thead>
        <tbody>
          ${fields.map(fieldRow)}
        </tbody>
      </table>
    </div>`;
}

function fieldRow({ name, type, isRequired, fallback, description }: FieldReference): Html {
  const extent = isRequired ? "" : fallback === undefined ? "optional" : `by default ${JSON.stringify(fallback)}`;
  return markup`<tr>
    <td><code>${name}</code></td>
    <td>${type}<br /><small>${extent}</small></td>
    <td>${prose(description)}</td>
  </tr>`;
}

/** The call for a shell. */
function curl({ method, path, access, bodyType, bodyExample }: OperationReference): string {
  const lines = [`curl -X ${method} http://127.0.0.1:8222${path}`];
  if (access !== "open") lines.push('-H "X-API-Key: $INSTAVM_API_KEY"');
  if (bodyType === "application/json") {
    lines.push(
      "-H 'content-type: application/json'",
      `-d '${JSON.stringify(bodyExample).replaceAll("'", String.raw`'\''`)}'`,
    );
  } else {
    const flag = bodyType === "multipart/form-data" ? "-F" : "--data-urlencode";
    const fields = typeof bodyExample === "object" && bodyExample !== null ? Object.entries(bodyExample) : [];
    for (const [name, value] of fields)
      lines.push(`${flag} '${name}=${name === "file" ? "@local.txt" : String(value)}'`);
  }
  return lines.join(" \\\n  ");
}

function errors(): Html {
  const rows = Object.entries(errorTable).map(
    ([code, { status, retryable, next }]) =>
      markup`<tr id="error-${code}">
        <td><code>${code}</code></td>
        <td>${status}</td>
        <td>${retryable ? "yes" : ""}</td>
        <td>${prose(next)}</td>
      </tr>`,
  );
  return markup`<h2 id="errors">Errors</h2>
    <p>
      An error's body: <code>detail</code> (one sentence), <code>code</code> (never changes its meaning),
      <code>next</code> (what to do), <code>request_id</code>, and <code>errors</code> with each field that is wrong.
    </p>
    <div class="wide">
      <table>
        <thead>
          <tr>
            <th>Code</th>
            <th>Status</th>
            <th>May pass by itself</th>
            <th>What to do</th>
          </tr>
        </thead>
        <tbody>
          ${rows}
        </tbody>
      </table>
    </div>`;
}

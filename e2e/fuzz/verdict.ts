import { Ajv2020 } from "ajv/dist/2020.js";
import { fieldsOf } from "./document.ts";
import type { DocumentedOperation, Fields } from "./document.ts";
import type { FuzzRequest } from "./request.ts";
import type { FuzzAnswer } from "./send.ts";

/** Server errors that say what they are: a later release's call, a full or broken host, a VM that is silent. */
const honestServerErrors = [501, 503, 504];

/** Holds answers against an OpenAPI document. */
export class Judge {
  readonly #ajv: Ajv2020;

  constructor(document: unknown) {
    this.#ajv = new Ajv2020({ strict: false, validateFormats: false });
    this.#ajv.addSchema({ $id: "document", ...fieldsOf(document) });
  }

  /** What is wrong with the answer; nothing when it is as it should be. */
  problems(operation: DocumentedOperation, request: FuzzRequest, answer: FuzzAnswer): readonly string[] {
    const { status } = answer;
    const found: string[] = [];
    if (status >= 500 && !honestServerErrors.includes(status)) found.push(`status ${String(status)}`);
    if (request.method !== "HEAD" && status >= 400) found.push(...this.#errorProblems(answer));
    if (!request.isElsewhere) found.push(...this.#documentProblems(operation, answer));
    if (request.mutations.length === 0) found.push(...refusalProblems(answer));
    return found;
  }

  #errorProblems({ body, headers, status }: FuzzAnswer): readonly string[] {
    const error = jsonOf(body);
    const wrong = this.#mismatch({ $ref: "document#/components/schemas/Error" }, error);
    if (wrong !== undefined) return [`status ${String(status)} with an error body that is none: ${wrong}`];
    if (fieldsOf(error)["request_id"] === headers["x-request-id"]) return [];
    return ["the body's request_id is not that of the header"];
  }

  #documentProblems({ answers }: DocumentedOperation, answer: FuzzAnswer): readonly string[] {
    const content = answers.get(answer.status);
    if (content === undefined) return [`status ${String(answer.status)} (${codeOf(answer)}) is not documented`];
    const [type = ""] = (answer.headers["content-type"] ?? "").split(";", 1);
    if (content[type] === undefined) return [`content type ${type} is not documented for ${String(answer.status)}`];
    const media = fieldsOf(content[type]);
    if (answer.status >= 400) {
      const codes = Object.keys(fieldsOf(media["examples"]));
      return codes.includes(codeOf(answer)) ? [] : [`code ${codeOf(answer)} is not documented`];
    }
    if (type === "text/event-stream") return this.#eventProblems(media, answer);
    if (type !== "application/json" || answer.isCut) return [];
    const wrong = this.#mismatch(fieldsOf(media["schema"]), jsonOf(answer.body));
    return wrong === undefined ? [] : [`an answer outside its schema: ${wrong}`];
  }

  #eventProblems(media: Fields, { body, isCut }: FuzzAnswer): readonly string[] {
    const schemas = fieldsOf(media["x-events"]);
    const blocks = body.toString().split("\n\n");
    // What follows the last blank line is cut, or nothing.
    const last = blocks.pop();
    const problems = isCut || last === "" ? [] : [`a stream that ends inside an event: ${String(last).slice(0, 100)}`];
    const events = blocks.filter((block) => !block.startsWith(":"));
    return [...problems, ...events.flatMap((block) => this.#eventProblem(schemas, block))];
  }

  #eventProblem(schemas: Fields, block: string): readonly string[] {
    const [, name = "", data = ""] = /^event: (\w+)\ndata: (.*)$/.exec(block) ?? [];
    if (schemas[name] === undefined) return [`an event that is not documented: ${block.slice(0, 100)}`];
    const wrong = this.#mismatch(fieldsOf(schemas[name]), jsonOf(Buffer.from(data)));
    return wrong === undefined ? [] : [`an event ${name} outside its schema: ${wrong}`];
  }

  #mismatch(schema: Fields, value: unknown): string | undefined {
    if (this.#ajv.validate(schema, value)) return undefined;
    return this.#ajv.errorsText().slice(0, 300);
  }
}

/** What the document allows is not to be refused for its form; what only the VM knows may be. */
function refusalProblems(answer: FuzzAnswer): readonly string[] {
  const { errors, detail } = fieldsOf(jsonOf(answer.body));
  if (answer.status === 401) return ["the right key is refused"];
  if (answer.status !== 422 || errors === undefined) return [];
  return [`what the document allows is refused: ${String(detail).slice(0, 200)}`];
}

function codeOf({ body }: FuzzAnswer): string {
  return String(fieldsOf(jsonOf(body))["code"]);
}

function jsonOf(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch {
    return undefined;
  }
}

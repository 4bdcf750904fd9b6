/** JSON fields of which nothing is known yet. */
export type Fields = Readonly<Record<string, unknown>>;

/** One parameter of an operation, as /openapi.json describes it. */
interface Parameter {
  readonly name: string;
  readonly place: "path" | "query" | "header";
  readonly isRequired: boolean;
  readonly schema: Fields;
}

/** One operation of /openapi.json. */
export interface DocumentedOperation {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly parameters: readonly Parameter[];
  /** Undefined: it takes none. */
  readonly body: { readonly isRequired: boolean; readonly type: string; readonly schema: Fields } | undefined;
  /** Content by media type, by status. */
  readonly answers: ReadonlyMap<number, Fields>;
}

/** The fields of an object; none of anything else. */
export function fieldsOf(value: unknown): Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : {};
}

/** The elements of a list; none of anything else. */
export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** The texts of a list. */
export function textsOf(value: unknown): readonly string[] {
  return listOf(value).filter((one) => typeof one === "string");
}

/** Every operation of an OpenAPI document. */
export function operationsOf(document: unknown): readonly DocumentedOperation[] {
  return Object.entries(fieldsOf(fieldsOf(document)["paths"])).flatMap(([path, methods]) =>
    Object.entries(fieldsOf(methods)).map(([method, operation]) => readOperation(path, method, fieldsOf(operation))),
  );
}

function readOperation(path: string, method: string, operation: Fields): DocumentedOperation {
  const answers = Object.entries(fieldsOf(operation["responses"]));
  return {
    id: String(operation["operationId"]),
    method: method.toUpperCase(),
    path,
    parameters: listOf(operation["parameters"]).map((one) => readParameter(fieldsOf(one))),
    body: operation["requestBody"] === undefined ? undefined : readBody(fieldsOf(operation["requestBody"])),
    answers: new Map(answers.map(([status, answer]) => [Number(status), fieldsOf(fieldsOf(answer)["content"])])),
  };
}

function readParameter(parameter: Fields): Parameter {
  const place = parameter["in"];
  return {
    name: String(parameter["name"]),
    place: place === "path" || place === "query" ? place : "header",
    isRequired: parameter["required"] === true,
    schema: fieldsOf(parameter["schema"]),
  };
}

function readBody(body: Fields): DocumentedOperation["body"] {
  const [type = "", media] = Object.entries(fieldsOf(body["content"]))[0] ?? [];
  return { isRequired: body["required"] === true, type, schema: fieldsOf(fieldsOf(media)["schema"]) };
}

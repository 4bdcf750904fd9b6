import type { IncomingMessage } from "node:http";
import { Busboy } from "@fastify/busboy";
import type { BusboyFileStream, BusboyInstance } from "@fastify/busboy";
import { InstaVmError, pathLimitBytes } from "@instavm/contract";
import { tooLarge } from "./too-large.ts";
import { invalid } from "./validate.ts";

/** The only part that is a file. */
const filePart = "file";
const fieldLimit = 16;
/** Of a file that comes before the fields, so much is kept until these have come. */
const heldBytes = 1024 * 1024;

/** What an upload consists of. */
export interface MultipartForm {
  /** Fields without which nobody knows where the file goes. */
  readonly fields: readonly string[];
  /** Of the file. */
  readonly limitBytes: number;
}

/** A multipart body whose file has begun. */
export interface MultipartUpload {
  /** Those that came before the file; all when some that are needed came behind it. */
  readonly fields: Readonly<Record<string, string>>;
  /** Ends when the whole body has come and is well-formed; fails otherwise. Read it once, to its end. */
  readonly content: AsyncIterable<Uint8Array>;
}

/**
 * Reads a multipart body up to its file. The file is read as its content is asked for, so that memory stays constant.
 * Disposing of it drops what has not come yet.
 */
export class MultipartReader implements Disposable {
  readonly #request: IncomingMessage;
  readonly #form: MultipartForm;
  readonly #fields = new Map<string, string>();
  readonly #begun = Promise.withResolvers<MultipartUpload>();
  readonly #finished = Promise.withResolvers<void>();
  #parser: BusboyInstance | undefined;
  #file: BusboyFileStream | undefined;
  #isOver = false;

  constructor(request: IncomingMessage, form: MultipartForm) {
    this.#request = request;
    this.#form = form;
    // Each is awaited only if it comes to that.
    this.#begun.promise.catch(() => {});
    this.#finished.promise.catch(() => {});
  }

  /** Resolves when the file begins. Throws `bad_request` for what is no multipart body, `invalid` for one without a file. */
  async begin(): Promise<MultipartUpload> {
    const parser = this.#open();
    this.#parser = parser;
    parser.on("field", (name, value, ...[isNameCut, isValueCut]) =>
      this.#onField(name, value, isNameCut || isValueCut),
    );
    parser.on("file", (name, file) => this.#onFile(name, file));
    parser.on("finish", () => this.#onFinish());
    parser.on("error", (cause) => this.#fail(broken(cause)));
    for (const limit of ["filesLimit", "fieldsLimit", "partsLimit"] as const) {
      parser.on(limit, () =>
        this.#fail(wrongPart("body", `expected one part ${filePart} and at most ${fieldLimit} fields`)),
      );
    }
    this.#request.once("error", () => this.#fail(clientLeft()));
    this.#request.once("close", () => {
      if (!this.#request.complete) this.#fail(clientLeft());
    });
    this.#request.pipe(parser);
    return this.#begun.promise;
  }

  [Symbol.dispose](): void {
    this.#fail(clientLeft());
  }

  #open(): BusboyInstance {
    const { headers } = this.#request;
    const contentType = headers["content-type"] ?? "";
    try {
      return new Busboy({
        headers: { ...headers, "content-type": contentType },
        limits: {
          files: 1,
          fields: fieldLimit,
          parts: fieldLimit + 1,
          // A character may take several bytes, and be escaped.
          fieldSize: 4 * pathLimitBytes,
          fieldNameSize: 100,
          headerPairs: 50,
          headerSize: 16 * 1024,
          fileSize: this.#form.limitBytes,
        },
      });
    } catch (cause) {
      throw broken(cause);
    }
  }

  #onField(name: string, value: string, isCut: boolean): void {
    if (isCut) this.#fail(wrongPart(name.slice(0, 100), `expected at most ${4 * pathLimitBytes} bytes`));
    else this.#fields.set(name, value);
  }

  #onFile(name: string, file: BusboyFileStream): void {
    // A stream whose error nobody listens to would end the program.
    file.on("error", () => {});
    this.#file = file;
    if (this.#isOver) {
      file.resume();
      return;
    }
    if (name !== filePart) {
      this.#fail(wrongPart(name.slice(0, 100), `expected no file but the part ${filePart}`));
      return;
    }
    if (this.#form.fields.every((field) => this.#fields.has(field))) this.#begin(this.#contentOf(file));
    else void this.#hold(file);
  }

  #begin(content: AsyncIterable<Uint8Array>): void {
    this.#begun.resolve({ fields: Object.fromEntries(this.#fields), content });
  }

  /** Takes the file in until the fields behind it have come. */
  async #hold(file: BusboyFileStream): Promise<void> {
    const held: Uint8Array[] = [];
    let bytes = 0;
    try {
      for await (const piece of this.#contentOf(file)) {
        bytes += piece.length;
        if (bytes > heldBytes) return this.#fail(cameTooEarly(this.#form.fields));
        held.push(piece);
      }
      return this.#begin(inTurn(held));
    } catch (error) {
      return this.#begun.reject(error);
    }
  }

  #onFinish(): void {
    if (this.#file === undefined) this.#fail(wrongPart(filePart, "expected a part of this name with the file"));
    this.#isOver = true;
    this.#finished.resolve();
  }

  async *#contentOf(file: BusboyFileStream): AsyncGenerator<Uint8Array, void, undefined> {
    file.once("limit", () => this.#fail(tooLarge("The file", Number.NaN, this.#form.limitBytes)));
    try {
      for await (const piece of file) {
        if (!(piece instanceof Uint8Array)) throw broken("a piece that is no bytes");
        yield piece;
      }
    } catch (error) {
      // Why the whole body failed says more than why its file did.
      await this.#finished.promise;
      throw error;
    }
    await this.#finished.promise;
  }

  /** Without effect once the body is over. What still comes is dropped, so that its sender gets the answer. */
  #fail(error: InstaVmError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#begun.reject(error);
    this.#finished.reject(error);
    if (this.#parser !== undefined) this.#request.unpipe(this.#parser);
    this.#file?.destroy(error);
    this.#request.resume();
  }
}

function wrongPart(name: string, msg: string): InstaVmError {
  return invalid([{ loc: ["body", name], msg, type: "invalid_part" }]);
}

function cameTooEarly(fields: readonly string[]): InstaVmError {
  const msg = `expected behind the fields ${fields.join(" and ")}, because it has more than ${heldBytes} bytes`;
  return wrongPart(filePart, msg);
}

async function* inTurn(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array, void, undefined> {
  yield* pieces;
}

function broken(cause: unknown): InstaVmError {
  const reason = cause instanceof Error ? cause.message.slice(0, 200) : String(cause);
  return new InstaVmError("bad_request", `The request's body is not a whole multipart body: ${reason}.`, {
    next: "Send multipart/form-data with a boundary, to its last boundary.",
    cause,
  });
}

function clientLeft(): InstaVmError {
  return new InstaVmError("cancelled", "The client left before its file had come whole.");
}

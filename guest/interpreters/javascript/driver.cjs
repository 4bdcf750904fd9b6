/*
The persistent JavaScript interpreter of a sandbox: runs cells that arrive on a pipe, in one global scope.

How it is started (by the agent, cwd = the context's):

    node driver.cjs

with fd 0 = /dev/null, fds 1 and 2 = pipes that the agent reads, fd 3 = requests in, fd 4 = replies out. The messages
are those of ../python/driver.py. Needs Node 18 or later.

Cells run as lines of a developer console do (V8's REPL mode, reached through the inspector of this very process):
`const` and `let` may be declared again, `await` stands at the top level, and the value of the last expression is the
result. A promise as the result is awaited, so that `main()` behaves as in a script; `void main()` lets it run on.
`import` statements and `import()` work and look modules up from the working directory, as `require` does.

Rich results: an object with a method or property `Symbol.for("instavm.display")` (or "Jupyter.display") that gives
an object of MIME types and data; `display(value)` shows one at any time, `display.html(text)` and the like show data.
Binary types take a Buffer, a typed array or a base64 string, text types a string, anything else is sent as JSON.

SIGINT ends the synchronous part of a cell where it strikes, and the waiting of one that awaits. One that comes just
between the two is lost, so the agent sends it again. What runs without a pause behind an `await` cannot be interrupted:
the agent then ends the interpreter.
*/
"use strict";

const fs = require("node:fs");
const inspector = require("node:inspector");
const moduleApi = require("node:module");
const net = require("node:net");
const path = require("node:path");
const stream = require("node:stream");
const url = require("node:url");
const util = require("node:util");
const v8 = require("node:v8");
const vm = require("node:vm");

const REQUEST_FD = 3;
const REPLY_FD = 4;
const MAX_REQUEST_BYTES = 256 << 20;
const MAX_TEXT_BYTES = 1 << 20;
const MAX_RICH_BYTES = 16 << 20;
const MAX_ERROR_VALUE_BYTES = 64 << 10;
const MAX_TRACEBACK_BYTES = 256 << 10;

const STATUS_OK = 0;
const STATUS_EXCEPTION = 1;
const STATUS_EXIT = 2;

const DISPLAY_SYMBOLS = [Symbol.for("instavm.display"), Symbol.for("Jupyter.display")];
/** Frames of this file's own; the name of the script that every cell runs below. */
const WATCH_NAME = "instavm-watch";
const OWN_FRAME = new RegExp(
  `^\\s+at .*(?:node:inspector:|node:vm:|${WATCH_NAME}|${__filename.replace(/[^\w]/g, "\\$&")})`,
);

// -- Wire ---------------------------------------------------------------------------------------------------------------

function u32(value) {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
}

function packed(data) {
  return Buffer.concat([u32(data.length), data]);
}

const napping = new Int32Array(new SharedArrayBuffer(4));

/** All of it, also to a pipe that a child has made non-blocking. */
function writeAll(fd, data) {
  for (let at = 0; at < data.length;) {
    try {
      at += fs.writeSync(fd, data, at);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
      Atomics.wait(napping, 0, 0, 1);
    }
  }
}

const wire = {
  isCellOpen: false,
  /** An interrupt that strikes now would leave half a message behind. */
  isSending: false,

  send(kind, body = Buffer.alloc(0)) {
    if (kind === "V" && !this.isCellOpen) return;
    if (kind === "D") this.isCellOpen = false;
    this.isSending = true;
    writeAll(REPLY_FD, Buffer.concat([u32(body.length + 1), Buffer.from(kind), body]));
    this.isSending = false;
  },
};

/** UTF-8 of a text, its middle cut out when it is longer than `limit` bytes. */
function bounded(text, limit) {
  const data = Buffer.from(text);
  if (data.length <= limit) return data;
  const head = data
    .subarray(0, limit >> 1)
    .toString()
    .replace(/\uFFFD$/, "");
  const tail = data
    .subarray(data.length - (limit >> 2))
    .toString()
    .replace(/^\uFFFD+/, "");
  const left = data.length - Buffer.byteLength(head) - Buffer.byteLength(tail);
  return Buffer.from(`${head}\n... ${left} bytes left out ...\n${tail}`);
}

// -- Output -------------------------------------------------------------------------------------------------------------

/**
 * Writes at once: what was printed stays in front of what is displayed after it. No cell can end it, and nothing waits in
 * it: an interrupt that strikes in the middle of a stream's own bookkeeping would stop the stream for good.
 */
class Output extends stream.Writable {
  constructor(fd) {
    super();
    this.fd = fd;
  }

  write(chunk, encoding, callback) {
    if (typeof encoding === "function") return this.write(chunk, undefined, encoding);
    if (typeof chunk !== "string" && !ArrayBuffer.isView(chunk)) {
      throw new TypeError(`a stream takes strings, Buffers, typed arrays and DataViews, not ${util.inspect(chunk)}`);
    }
    const data = typeof chunk === "string" ? Buffer.from(chunk, encoding) : bytesUnder(chunk);
    let failure;
    try {
      writeAll(this.fd, data);
    } catch (error) {
      // Nobody reads any more.
      if (error.code !== "EPIPE" && error.code !== "EBADF") failure = error;
    }
    if (typeof callback === "function") process.nextTick(callback, failure);
    else if (failure !== undefined) process.nextTick(() => this.emit("error", failure));
    return true;
  }

  end(...rest) {
    const callback = typeof rest.at(-1) === "function" ? rest.pop() : () => {};
    if (rest.length > 0) this.write(...rest);
    process.nextTick(callback);
    return this;
  }

  destroy() {
    return this;
  }
}

const bytesUnder = (view) => Buffer.from(view.buffer, view.byteOffset, view.byteLength);

function complain(text) {
  try {
    writeAll(2, Buffer.from(text));
  } catch {
    // Closed by a cell.
  }
}

// -- Display ------------------------------------------------------------------------------------------------------------

const isBinaryType = (mime) => /^(?:image|audio|video|font)\//.test(mime) && !mime.endsWith("+xml");

function bytesOf(mime, content) {
  if (ArrayBuffer.isView(content)) return bytesUnder(content);
  if (content instanceof ArrayBuffer) return Buffer.from(content);
  if (typeof content !== "string") return Buffer.from(JSON.stringify(content) ?? "null");
  if (isBinaryType(mime) || mime === "application/pdf") return Buffer.from(content, "base64");
  return mime === "text/plain" ? bounded(content, MAX_TEXT_BYTES) : Buffer.from(content);
}

/** What is too large is sent as such: the agent leaves it out and says so. */
function show(bundle, isResult) {
  const parts = [];
  for (const [mime, content] of Object.entries(bundle)) {
    if (content === undefined || content === null) continue;
    const data = bytesOf(mime, content);
    const sent = data.length > MAX_RICH_BYTES ? Buffer.alloc(MAX_RICH_BYTES + 1) : data;
    parts.push(packed(bounded(mime, 256)), packed(sent));
  }
  if (parts.length === 0) return;
  wire.send("V", Buffer.concat([u32(cell?.id ?? 0), Buffer.from([isResult ? 1 : 0]), u32(parts.length / 2), ...parts]));
}

function inspected(value) {
  return util.inspect(value, { depth: 4, maxStringLength: MAX_TEXT_BYTES });
}

/** MIME types and data of any value. May wait: a rich object's method may be asynchronous. */
async function bundleOf(value) {
  if ((typeof value === "object" && value !== null) || typeof value === "function") {
    for (const symbol of DISPLAY_SYMBOLS) {
      const rich = value[symbol];
      if (rich === undefined) continue;
      const bundle = await (typeof rich === "function" ? rich.call(value) : rich);
      if (typeof bundle === "object" && bundle !== null) {
        return "text/plain" in bundle ? bundle : { "text/plain": inspected(value), ...bundle };
      }
    }
  }
  return { "text/plain": inspected(value) };
}

function isRich(value) {
  return value !== null && typeof value === "object" && DISPLAY_SYMBOLS.some((symbol) => value[symbol] !== undefined);
}

/** Shows a value; with `{ raw: true }` an object of MIME types and data. Returns a promise only for rich objects. */
function display(value, options = {}) {
  if (options.raw === true) return void show(value, false);
  if (isRich(value)) return bundleOf(value).then((bundle) => show(bundle, false));
  return void show({ "text/plain": inspected(value) }, false);
}

for (const [name, mime] of Object.entries({
  html: "text/html",
  markdown: "text/markdown",
  latex: "text/latex",
  svg: "image/svg+xml",
  png: "image/png",
  jpeg: "image/jpeg",
  json: "application/json",
})) {
  display[name] = (content) => {
    const data = name === "json" ? JSON.stringify(content) : content;
    show({ [mime]: data }, false);
  };
}

// -- Errors -------------------------------------------------------------------------------------------------------------

const withoutOwnFrames = (text) =>
  text
    .split("\n")
    .filter((line) => !OWN_FRAME.test(line))
    .join("\n");

/** `{ name, value, traceback }` of whatever was thrown. Never throws. */
function describeError(error) {
  try {
    if (!util.types.isNativeError(error) && !(error instanceof Error)) {
      const value = inspected(error);
      return { name: "Uncaught", value, traceback: `Uncaught ${value}\n` };
    }
    return {
      name: String(error.name),
      value: String(error.message),
      traceback: `${withoutOwnFrames(util.inspect(error))}\n`,
    };
  } catch {
    return { name: "Error", value: "<the error cannot be shown>", traceback: "Error: <the error cannot be shown>\n" };
  }
}

/** A syntax error is told with its line, which REPL mode does not know. */
function describeSyntaxError(error, source, filename) {
  try {
    new vm.Script(`(async () => {\n${source}\n})`, { filename, lineOffset: -1 });
  } catch (located) {
    const [head] = String(located.stack).split("\n    at ");
    if (located.name === error.name) {
      return { name: located.name, value: String(located.message), traceback: `${head}\n` };
    }
  }
  return describeError(error);
}

const interrupted = () => ({
  name: "Interrupted",
  value: "the cell was interrupted",
  traceback: "Interrupted: the cell was interrupted\n",
});

// -- Modules ------------------------------------------------------------------------------------------------------------

function requireFromHere() {
  return moduleApi.createRequire(path.join(process.cwd(), "cell.js"));
}

/** The file of a package that only `import` may load. */
function importOnlyFile(specifier) {
  const [, name, rest] = /^((?:@[^/]+\/)?[^/]+)(.*)$/.exec(specifier) ?? [];
  for (const directory of requireFromHere().resolve.paths(specifier) ?? []) {
    const root = path.join(directory, name ?? "");
    const manifest = path.join(root, "package.json");
    if (!fs.existsSync(manifest)) continue;
    const { exports } = JSON.parse(fs.readFileSync(manifest, "utf8"));
    const isMap = typeof exports === "object" && exports !== null && Object.keys(exports).some((key) => key[0] === ".");
    let target = isMap ? exports[`.${rest}`] : rest === "" ? exports : undefined;
    while (typeof target === "object" && target !== null) {
      const condition = Object.keys(target).find((key) => ["node", "import", "default"].includes(key));
      target = condition === undefined ? undefined : target[condition];
    }
    if (typeof target === "string") return path.join(root, target);
  }
  return undefined;
}

function resolveImport(specifier) {
  if (moduleApi.builtinModules.includes(specifier) || /^(?:node|data|file|https?):/.test(specifier)) return specifier;
  if (/^\.{0,2}\//.test(specifier)) return url.pathToFileURL(path.resolve(specifier)).href;
  try {
    return url.pathToFileURL(requireFromHere().resolve(specifier)).href;
  } catch (error) {
    const file = error.code === "ERR_PACKAGE_PATH_NOT_EXPORTED" ? importOnlyFile(specifier) : undefined;
    if (file === undefined) throw error;
    return url.pathToFileURL(file).href;
  }
}

/** What `import(…)` in a cell becomes. */
async function importFromCell(specifier, options) {
  return import(resolveImport(String(specifier)), options);
}

const NAME = "[\\w$]+";
const STATIC_IMPORT = new RegExp(
  `import\\s*(?:(?:(${NAME})\\s*,?\\s*)?(?:\\*\\s*as\\s+(${NAME})\\s*|\\{([^}]*)\\}\\s*)?from\\s*)?(['"])([^'"\\n]+)\\4`,
  "y",
);
/** After these a slash begins a regular expression, not a division. */
const BEFORE_EXPRESSION =
  /(?:^|[({[=,;:!&|?+\-*%^~<>}]|\b(?:return|typeof|case|in|of|do|else|void|delete|await|yield|throw|new))$/;

/** `import` written so that a script may hold it. Strings, comments and the like stay as they are. */
function withoutImports(source) {
  if (!source.includes("import")) return source;
  let output = "";
  let at = 0;
  /** Depths of braces at which a template goes on. */
  const templates = [];
  let depth = 0;
  const skipTo = (end) => {
    output += source.slice(at, end);
    at = end;
  };
  const endOf = (pattern) => {
    pattern.lastIndex = at;
    return pattern.test(source) ? pattern.lastIndex : source.length;
  };
  while (at < source.length) {
    const rest = source[at];
    if (source.startsWith("//", at)) skipTo(endOf(/\n|$/g));
    else if (source.startsWith("/*", at)) skipTo(endOf(/\*\//g));
    else if (rest === "'" || rest === '"') skipTo(endOf(/(['"])(?:\\[^]|(?!\1)[^\\\n])*(?:\1|$)/gm));
    else if (rest === "`" || (rest === "}" && templates.at(-1) === depth)) {
      if (rest === "}") templates.pop();
      const end = endOf(/[`}](?:\\[^]|(?!\$\{)[^`\\])*(?:`|\$\{)/g);
      if (source.startsWith("${", end - 2)) templates.push(depth);
      skipTo(end);
    } else if (rest === "/" && BEFORE_EXPRESSION.test(output.trimEnd())) {
      skipTo(endOf(/\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n])+\/[a-z]*|\//g));
    } else if (/[\w$]/.test(rest)) {
      const word = /[\w$]+/y;
      word.lastIndex = at;
      const name = word.exec(source)?.[0] ?? rest;
      const replaced = name === "import" && !output.trimEnd().endsWith(".") ? importAt(source, at) : undefined;
      if (replaced === undefined) skipTo(at + name.length);
      else {
        output += replaced.text;
        at = replaced.end;
      }
    } else {
      if (rest === "{") depth += 1;
      if (rest === "}") depth -= 1;
      skipTo(at + 1);
    }
  }
  return output;
}

function importAt(source, at) {
  if (/^import\s*\(/.test(source.slice(at, at + 100))) return { text: "__instavm_import__", end: at + "import".length };
  STATIC_IMPORT.lastIndex = at;
  const match = STATIC_IMPORT.exec(source);
  if (match === null) return undefined;
  const [whole, byDefault, namespace, names, , specifier] = match;
  const call = `await __instavm_import__(${JSON.stringify(specifier)})`;
  const picked = [
    ...(byDefault === undefined ? [] : [`default: ${byDefault}`]),
    ...(names === undefined ? [] : [names.replace(/\s+as\s+/g, ": ")]),
  ].join(", ");
  const text =
    namespace !== undefined
      ? `const ${namespace} = ${call}${byDefault === undefined ? "" : `, ${byDefault} = ${namespace}.default`}`
      : picked === ""
        ? call
        : `const { ${picked} } = ${call}`;
  // As many lines as before, so that the lines of errors are right.
  const lines = whole.split("\n").length - text.split("\n").length;
  return { text: text + "\n".repeat(Math.max(lines, 0)), end: at + whole.length };
}

// -- Evaluation ---------------------------------------------------------------------------------------------------------

const session = new inspector.Session();
session.connect();

/** Values pass from the inspector to this file through it. */
const sink = { value: undefined };

function describeSink() {
  globalThis.__instavm_sink__ = sink;
  let objectId;
  session.post("Runtime.evaluate", { expression: "__instavm_sink__" }, (_error, answer) => {
    objectId = answer.result.objectId;
  });
  delete globalThis.__instavm_sink__;
  return objectId;
}

const sinkId = describeSink();

/** The value that the inspector speaks of. */
function valueOf(remote) {
  if (remote.type === "undefined") return undefined;
  const argument =
    remote.objectId !== undefined
      ? { objectId: remote.objectId }
      : remote.unserializableValue !== undefined
        ? { unserializableValue: remote.unserializableValue }
        : { value: remote.value };
  session.post("Runtime.callFunctionOn", {
    objectId: sinkId,
    functionDeclaration: "function (value) { this.value = value; }",
    arguments: [argument],
    silent: true,
  });
  const { value } = sink;
  sink.value = undefined;
  return value;
}

const watched = new vm.Script("__instavm_start__()", { filename: WATCH_NAME });

/** The cell that runs. */
let cell;

/** `{ a: 1 }` is meant as an object. */
function asExpression(source) {
  if (!/^\s*\{/.test(source) || /;\s*$/.test(source)) return source;
  try {
    new vm.Script(`(async () => (${source}\n))`);
    return `(${source}\n)`;
  } catch {
    return source;
  }
}

/** Promises of cells that have not come to their end. One that is collected would end this process: see `evaluate`. */
const pending = new Set();

/**
 * Runs the synchronous part and gives the promise of the whole, or throws what kept it from starting. The promise is
 * the first that is made, since V8 wraps a cell in an asynchronous function. (It also tells the inspector of its end,
 * but calls back in the middle of a garbage collection when it finds a promise that nobody can keep any more.)
 */
function evaluate(source, filename) {
  const parameters = {
    expression: `${asExpression(withoutImports(source))}\n//# sourceURL=${filename}`,
    objectGroup: "cells",
    replMode: true,
    awaitPromise: true,
    silent: true,
  };
  let whole;
  let failure;
  defineGlobal("__instavm_start__", {
    value: () => {
      const stop = v8.promiseHooks.onInit((promise) => {
        whole = promise;
        pending.add(promise);
        stop();
      });
      session.post("Runtime.evaluate", parameters, (error, answer) => {
        if (whole === undefined) failure = { error, answer };
        stop();
      });
    },
  });
  watched.runInThisContext({ breakOnSigint: true });
  if (failure !== undefined) {
    const { error, answer } = failure;
    if (error) throw error;
    const reason = valueOf(answer.exceptionDetails?.exception ?? answer.result);
    session.post("Runtime.releaseObjectGroup", { objectGroup: "cells" });
    throw reason;
  }
  const settled = () => {
    pending.delete(whole);
    setImmediate(() => session.post("Runtime.releaseObjectGroup", { objectGroup: "cells" }));
  };
  whole.then(settled, settled);
  return whole;
}

/** In REPL mode a cell's value comes in a box, so that a promise is not mistaken for it. */
const BOX = ".repl_result";

function execute(id, source) {
  const filename = `<cell-${id}>`;
  const own = { id, interrupt: undefined };
  cell = own;
  wire.isCellOpen = true;
  if (!process.listeners("SIGINT").includes(onInterrupt)) process.on("SIGINT", onInterrupt);
  const finish = (error) => {
    if (cell === own) finishCell(own, error);
  };
  const fail = (error) => {
    const isOfSource = error instanceof SyntaxError && !String(error.stack).includes(`at ${filename}`);
    finish(isOfSource ? describeSyntaxError(error, source, filename) : describeError(error));
  };
  own.interrupt = () => finish(interrupted());
  try {
    showResult(own, evaluate(source, filename)).then(finish, fail);
  } catch (error) {
    // Half a message cannot be taken back.
    if (wire.isSending) process.reallyExit(130);
    if (error?.code === "ERR_SCRIPT_EXECUTION_INTERRUPTED") finish(interrupted());
    else fail(error);
  }
}

async function showResult(own, promise) {
  const boxed = await promise;
  const value = typeof boxed === "object" && boxed !== null && BOX in boxed ? boxed[BOX] : boxed;
  const final = util.types.isPromise(value) ? await value : value;
  if (final === undefined || cell !== own) return;
  const bundle = await bundleOf(final);
  if (cell === own) show(bundle, true);
}

function finishCell(own, error) {
  if (error !== undefined) complain(error.traceback);
  restoreEnvironment();
  process.exitCode = undefined;
  cell = undefined;
  sendDone(own.id, error === undefined ? STATUS_OK : STATUS_EXCEPTION, error === undefined ? 0 : 1, error);
}

function sendDone(id, status, exitCode, error) {
  const head = Buffer.alloc(9);
  head.writeUInt32LE(id);
  head.writeUInt8(status, 4);
  head.writeInt32LE(exitCode, 5);
  const { name = "", value = "", traceback = "" } = error ?? {};
  const strings = [
    bounded(name, 256),
    bounded(value, MAX_ERROR_VALUE_BYTES),
    bounded(traceback, MAX_TRACEBACK_BYTES),
  ].map(packed);
  wire.send("D", Buffer.concat([head, ...strings]));
}

function onInterrupt() {
  cell?.interrupt?.();
}

/** `process.exit` in a cell: told behind everything that runs at the end. */
function tellExit() {
  const { reallyExit } = process;
  process.reallyExit = (code) => {
    if (cell !== undefined && wire.isCellOpen) {
      const exitCode = Number(code ?? 0) & 0xff;
      sendDone(cell.id, STATUS_EXIT, exitCode, { name: "SystemExit", value: String(exitCode) });
    }
    reallyExit.call(process, code);
  };
}

// -- Environment and identity -------------------------------------------------------------------------------------------

/** What the environment of the next cell replaces. */
let replaced = new Map();

function setEnvironment(pairs) {
  for (const [name, value] of pairs) {
    if (name !== "" && !name.includes("=") && !`${name}${value}`.includes("\0")) {
      if (!replaced.has(name)) replaced.set(name, process.env[name]);
      process.env[name] = value;
    }
  }
}

function restoreEnvironment() {
  for (const [name, value] of replaced) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
  replaced = new Map();
}

/** Copies of this process must not draw the same numbers: xoshiro128**, of the seed. */
function seedMathRandom(seed) {
  const state = new Uint32Array(4);
  seed.forEach((byte, at) => {
    const word = (at >> 2) & 3;
    state[word] = Math.imul(state[word] ^ (byte << ((at & 3) * 8)), 0x9e3779b1) + at;
  });
  if (state.every((word) => word === 0)) state[0] = 1;
  const next = () => {
    const scrambled = Math.imul(rotated(Math.imul(state[1], 5), 7), 9) >>> 0;
    const shifted = state[1] << 9;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotated(state[3], 11);
    return scrambled;
  };
  const random = () => ((next() >>> 5) * 67108864 + (next() >>> 6)) / 9007199254740992;
  Object.defineProperty(Math, "random", { configurable: true, writable: true, enumerable: false, value: random });
}

const rotated = (word, bits) => (word << bits) | (word >>> (32 - bits));

/** The generator of this process's crypto library cannot be seeded: the kernel's takes its place. */
function useKernelRandomness() {
  const crypto = require("node:crypto");
  const source = fs.openSync("/dev/urandom", "r");
  const fill = (bytes) => {
    for (let at = 0; at < bytes.length;) at += fs.readSync(source, bytes, at, bytes.length - at, null);
    return bytes;
  };
  const viewOf = (target) =>
    ArrayBuffer.isView(target)
      ? new Uint8Array(target.buffer, target.byteOffset, target.byteLength)
      : new Uint8Array(target);
  const later = (callback, result) => void setImmediate(callback, null, result);
  const randomFillSync = (target, offset = 0, size = undefined) => {
    const width = target.BYTES_PER_ELEMENT ?? 1;
    const end = size === undefined ? undefined : (offset + size) * width;
    fill(viewOf(target).subarray(offset * width, end));
    return target;
  };
  const randomBytes = (size, callback) => {
    const bytes = fill(Buffer.alloc(size));
    return callback === undefined ? bytes : later(callback, bytes);
  };
  const randomUUID = () => {
    const bytes = fill(Buffer.alloc(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  };
  const randomInt = (low, high, callback) => {
    if (high === undefined || typeof high === "function") return randomInt(0, low, high);
    const range = high - low;
    if (!Number.isSafeInteger(low) || !Number.isSafeInteger(high) || range <= 0 || range > 2 ** 48 - 1) {
      throw new RangeError(`randomInt(${low}, ${high}): expected whole numbers, the second greater`);
    }
    let drawn;
    do drawn = fill(Buffer.alloc(6)).readUIntBE(0, 6);
    while (drawn >= 2 ** 48 - (2 ** 48 % range));
    const number = low + (drawn % range);
    return callback === undefined ? number : later(callback, number);
  };
  const randomFill = (target, ...rest) => {
    const callback = rest.pop();
    later(callback, randomFillSync(target, ...rest));
  };
  const getRandomValues = (target) => randomFillSync(target);
  const own = { randomBytes, pseudoRandomBytes: randomBytes, randomFillSync, randomFill, randomInt, randomUUID };
  for (const [name, value] of Object.entries({ ...own, getRandomValues })) define(crypto, name, value);
  for (const [name, value] of Object.entries({ getRandomValues, randomUUID })) define(crypto.webcrypto, name, value);
  moduleApi.syncBuiltinESMExports();
}

/** Unless it is fixed. */
function define(owner, name, value) {
  if (Object.getOwnPropertyDescriptor(owner, name)?.configurable !== false) {
    Object.defineProperty(owner, name, { configurable: true, writable: true, enumerable: true, value });
  }
}

let hasKernelRandomness = false;

function activate(seed, pairs) {
  for (const [name, value] of pairs) {
    if (name !== "" && !name.includes("=") && !`${name}${value}`.includes("\0")) process.env[name] = value;
  }
  if (seed.length === 0) return;
  seedMathRandom(seed);
  if (!hasKernelRandomness) useKernelRandomness();
  hasKernelRandomness = true;
}

// -- Requests -----------------------------------------------------------------------------------------------------------

/** Takes fields off a message. */
class Body {
  constructor(bytes) {
    this.bytes = bytes;
  }

  number() {
    const value = this.bytes.readUInt32LE(0);
    this.bytes = this.bytes.subarray(4);
    return value;
  }

  byte() {
    const value = this.bytes[0];
    this.bytes = this.bytes.subarray(1);
    return value;
  }

  blob() {
    const length = this.number();
    const blob = this.bytes.subarray(0, length);
    this.bytes = this.bytes.subarray(length);
    return blob;
  }

  pairs() {
    return Array.from({ length: this.number() }, () => [this.blob().toString(), this.blob().toString()]);
  }
}

/** Goes the way of a short cell: what an emulator has translated is there when one comes. */
function rehearse() {
  if (cell === undefined) session.post("Runtime.evaluate", { expression: "6 * 7", replMode: true, silent: true });
}

function handle(kind, body) {
  switch (kind) {
    case "X": {
      const id = body.number();
      body.byte();
      // Behind signals that came before it.
      return setImmediate(execute, id, body.bytes.toString());
    }
    case "A":
      activate(Buffer.from(body.blob()), body.pairs());
      return wire.send("K");
    case "E":
      return setEnvironment(body.pairs());
    case "W":
      return rehearse();
    default:
      return process.reallyExit(70);
  }
}

function serve() {
  const requests = new net.Socket({ fd: REQUEST_FD, readable: true, writable: false });
  let chunks = [];
  let bytes = 0;
  requests.on("data", (chunk) => {
    chunks.push(chunk);
    bytes += chunk.length;
    for (;;) {
      if (bytes < 4) return;
      if (chunks[0].length < 4) chunks = [Buffer.concat(chunks)];
      const length = chunks[0].readUInt32LE(0);
      if (length < 1 || length > MAX_REQUEST_BYTES) return process.reallyExit(70);
      if (bytes < 4 + length) return;
      const all = Buffer.concat(chunks);
      chunks = [all.subarray(4 + length)];
      bytes = chunks[0].length;
      handle(String.fromCharCode(all[4]), new Body(all.subarray(5, 4 + length)));
    }
  });
  // The agent is gone.
  requests.on("end", () => process.reallyExit(0));
  requests.on("error", () => process.reallyExit(0));
}

// -- Start --------------------------------------------------------------------------------------------------------------

function defineGlobal(name, descriptor) {
  Object.defineProperty(globalThis, name, { configurable: true, enumerable: false, ...descriptor });
}

/** What a console has: `require`, and the modules of Node by their names. */
function prepareGlobals() {
  const own = { exports: {} };
  defineGlobal("require", { writable: true, value: requireFromHere() });
  defineGlobal("module", { writable: true, value: own });
  defineGlobal("exports", { writable: true, value: own.exports });
  defineGlobal("display", { writable: true, value: display });
  defineGlobal("__instavm_import__", { value: importFromCell });
  for (const name of moduleApi.builtinModules) {
    if (/^_|\//.test(name) || name in globalThis) continue;
    defineGlobal(name, {
      get: () => require(name),
      set: (value) => defineGlobal(name, { writable: true, value }),
    });
  }
}

process.argv.length = 1;
for (const [name, fd] of Object.entries({ stdout: 1, stderr: 2 })) {
  Object.defineProperty(process, name, { configurable: true, enumerable: true, writable: true, value: new Output(fd) });
}
prepareGlobals();
tellExit();
process.on("SIGINT", onInterrupt);
for (const event of ["uncaughtException", "unhandledRejection"]) {
  process.on(event, (error) => complain(describeError(error).traceback));
}
rehearse();
serve();
wire.send("R");

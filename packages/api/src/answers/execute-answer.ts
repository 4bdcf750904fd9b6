import { Readable } from "node:stream";
import type { ExecuteResponse, SessionId } from "@instavm/contract";
import type { ExecuteResult } from "@instavm/core";
import { displayedForms } from "./displayed.ts";
import { byteLength, decodePieces, jsonObject } from "./json-text.ts";
import type { Pieces } from "./json-text.ts";

/** Above this an answer is written slice by slice. */
const streamFromBytes = 256 * 1024;

const newline = Uint8Array.of(10);

/** An execute's answer without what may be long. */
type ExecuteFields = Omit<ExecuteResponse, "stdout" | "stderr" | "output" | "results">;

/** The answer of an execute: an object, or the same as a stream of JSON when it is large. */
export function executeAnswer(sessionId: SessionId, result: ExecuteResult): ExecuteResponse | Readable {
  const fields = executeFields(sessionId, result);
  const stdout = [result.stdout, ...shownValues(result)];
  const stderr = [result.stderr];
  const { results } = result;
  if (byteLength(stdout) + byteLength(stderr) + byteLength(results.map(bytesOf).flat()) > streamFromBytes) {
    const lists = { results: displayedForms(results) };
    return Readable.from(jsonObject(fields, { stdout, stderr, output: stdout }, lists), { objectMode: false });
  }
  const text = decodePieces(stdout);
  const shown = [...displayedForms(results)];
  return { ...fields, stdout: text, stderr: decodePieces(stderr), output: text, results: shown };
}

function bytesOf({ data }: { readonly data: ReadonlyMap<string, Uint8Array> }): Pieces {
  return [...data.values()];
}

function executeFields(sessionId: SessionId, result: ExecuteResult): ExecuteFields {
  return {
    session_id: sessionId,
    vm_id: result.vmId,
    language: result.language,
    success: result.exitCode === 0,
    exit_code: result.exitCode,
    timed_out: result.timedOut,
    truncated: result.truncated,
    context_lost: result.contextLost,
    out_of_memory: result.outOfMemory,
    execution_time: result.wallMs / 1000,
    cpu_time: result.cpuMs / 1000,
    vm_start: result.start ?? null,
    vm_ready_ms: result.readyMs ?? null,
    error: result.error ?? null,
  };
}

/** What a terminal would show of displayed values, each on lines of its own, behind what the program printed. */
function shownValues(result: ExecuteResult): Pieces {
  const pieces: Uint8Array[] = [];
  let endsLine = result.stdout.length === 0 || result.stdout.at(-1) === 10;
  for (const { data } of result.results) {
    const text = data.get("text/plain");
    if (text === undefined) continue;
    if (!endsLine) pieces.push(newline);
    pieces.push(text, newline);
    endsLine = true;
  }
  return pieces;
}

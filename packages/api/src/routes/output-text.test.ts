import { describe, expect, it } from "vitest";
import { text } from "../testing/memory-sessions.ts";
import { OutputText } from "./output-text.ts";

const euro = text("€");
const out = (offset: number, next: number, shown: string) => ({
  channel: "stdout",
  data: { text: shown, offset, next_offset: next },
});

describe("output as text", () => {
  it("says of each text where it begins and where to go on", () => {
    const output = new OutputText();
    expect(output.moveTo(100)).toEqual([]);
    expect(output.take("stdout", text("ab"))).toEqual(out(100, 102, "ab"));
    expect(output.take("stdout", text("ü€😀"))).toEqual(out(102, 111, "ü€😀"));
    expect(output.offset).toBe(111);
  });

  it.each([1, 2, 3])("holds back a character of four bytes that is cut behind its byte %d", (cut) => {
    const output = new OutputText();
    const smile = text("a😀");
    expect(output.take("stdout", smile.subarray(0, 1 + cut))).toEqual(out(0, 1, "a"));
    expect(output.take("stdout", smile.subarray(1 + cut))).toEqual(out(1, 5, "😀"));
    expect(output.rest()).toEqual([]);
  });

  it("keeps the channels' characters apart", () => {
    const output = new OutputText();
    expect(output.take("stdout", euro.subarray(0, 1))).toBeUndefined();
    expect(output.take("stderr", text("between"))).toEqual({ ...out(1, 8, "between"), channel: "stderr" });
    expect(output.take("stdout", euro.subarray(1, 2))).toBeUndefined();
    expect(output.take("stdout", euro.subarray(2))).toEqual(out(0, 10, "€"));
  });

  it("shows what is no text, and what never became whole", () => {
    const output = new OutputText();
    expect(output.take("stdout", Uint8Array.of(0xff, 0x41, 0x80, 0xe2))).toEqual(out(0, 3, "\ufffdA\ufffd"));
    expect(output.moveTo(1000)).toEqual([out(3, 4, "\ufffd")]);
    expect(output.take("stdout", euro.subarray(1))).toEqual(out(1000, 1002, "\ufffd\ufffd"));
    output.take("stdout", euro.subarray(0, 2));
    expect(output.rest()).toEqual([out(1002, 1004, "\ufffd")]);
  });

  it("goes on without loss from every place that it names, whatever the pieces", () => {
    const whole = text("añ€😀z".repeat(5));
    for (let size = 1; size <= 7; size += 1) {
      const output = new OutputText();
      let shown = "";
      for (let at = 0; at < whole.length; at += size) {
        const placed = output.take("stdout", whole.subarray(at, at + size));
        if (placed === undefined) continue;
        shown += placed.data.text;
        expect(Buffer.from(whole.subarray(placed.data.next_offset)).toString()).not.toContain("\ufffd");
      }
      expect(shown).toBe(Buffer.from(whole).toString());
    }
  });
});

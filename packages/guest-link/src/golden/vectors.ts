import { frameVectors, invalidFrameVectors, largeFrameVectors, sequenceVectors } from "./frames.ts";
import { invalidMessageVectors, messageVectors } from "./messages.ts";
import { scanVectors, sessionVectors } from "./session.ts";

/** The content of `protocol/vectors/guest-frames.json`. */
export const goldenVectors = () => ({
  frames: frameVectors(),
  largeFrames: largeFrameVectors(),
  invalid: invalidFrameVectors(),
  sequences: sequenceVectors(),
  session: sessionVectors(),
  scans: scanVectors(),
  messages: messageVectors(),
  invalidMessages: invalidMessageVectors(),
});

/** All sections of the file. */
export type GoldenVectors = ReturnType<typeof goldenVectors>;

/** One row a line, so that a change shows as the rows it touches. */
export const renderVectors = (vectors: GoldenVectors): string => {
  const sections = Object.entries(vectors).map(
    ([name, rows]) =>
      `  ${JSON.stringify(name)}: [\n${rows.map((row) => `    ${JSON.stringify(row)}`).join(",\n")}\n  ]`,
  );
  return `{\n${sections.join(",\n")}\n}\n`;
};

import { ascii, concat, counting, hexOf, u16 } from "./bytes.ts";

/** One record of the session layer. */
export interface SessionVector {
  readonly name: string;
  readonly hex: string;
  readonly kind: "banner" | "hello" | "welcome";
  readonly bootIdHex?: string;
  readonly nonceHex?: string;
  readonly version?: number;
}

/** Bytes in which a reader must find a hello (the guest) or the welcome with its nonce (the host). */
export interface ScanVector {
  readonly name: string;
  readonly reader: "host" | "guest";
  readonly hex: string;
  /** The nonce that the host sent, or that the guest must find. */
  readonly nonceHex: string;
  readonly found: boolean;
  /** What follows the record: the first bytes of frames. */
  readonly restHex?: string;
}

const bootId = counting(16, 0xb0);
const nonce = counting(16, 0x10);
const otherNonce = counting(16, 0x60);

const banner = (): Uint8Array => concat(ascii("IVM1B"), bootId);
const hello = (of = nonce): Uint8Array => concat(ascii("IVM1H"), of, u16(1), u16(0));
const welcome = (of = nonce): Uint8Array => concat(ascii("IVM1W"), of, u16(1), u16(0));

/** Banner, hello and welcome. */
export const sessionVectors = (): SessionVector[] => [
  { name: "banner", hex: hexOf(banner()), kind: "banner", bootIdHex: hexOf(bootId) },
  { name: "hello", hex: hexOf(hello()), kind: "hello", nonceHex: hexOf(nonce), version: 1 },
  { name: "welcome", hex: hexOf(welcome()), kind: "welcome", nonceHex: hexOf(nonce), version: 1 },
];

const rest = Uint8Array.of(1, 2, 3);
/** A nonce that holds the start of a record. */
const trickyNonce = concat(ascii("IVM1W"), ascii("IVM1H"), counting(6));

type Scan = (reader: ScanVector["reader"], name: string, before: Uint8Array) => ScanVector;

const scanFor =
  (wanted: Uint8Array): Scan =>
  (reader, name, before) => ({
    name,
    reader,
    hex: hexOf(concat(before, reader === "host" ? welcome(wanted) : hello(wanted), rest)),
    nonceHex: hexOf(wanted),
    found: true,
    restHex: hexOf(rest),
  });
const scan = scanFor(nonce);
const scanTricky = scanFor(trickyNonce);

/** Streams that begin with an earlier session's remains. */
export const scanVectors = (): ScanVector[] => [
  scan("host", "welcome at once", new Uint8Array(0)),
  scan("host", "welcome after the banner", banner()),
  scan("host", "welcome after three banners", concat(banner(), banner(), banner())),
  scan(
    "host",
    "welcome after another session's welcome and a cut frame",
    concat(banner(), welcome(otherNonce), counting(7)),
  ),
  scan("host", "welcome after a false start", ascii("IVM1WIVM1IVIVM")),
  scan("host", "welcome cut short, then whole", welcome().subarray(0, 15)),
  scanTricky("host", "welcome with a nonce that looks like a record", banner()),
  {
    name: "welcome for another nonce only",
    reader: "host",
    hex: hexOf(concat(banner(), welcome(otherNonce), counting(64))),
    nonceHex: hexOf(nonce),
    found: false,
  },
  scan("guest", "hello at once", new Uint8Array(0)),
  scan("guest", "hello after the rest of an earlier session", counting(200)),
  scan("guest", "hello after a false start", ascii("IVM1HIVM1IVIVM").subarray(5)),
  scanTricky("guest", "hello with a nonce that looks like a record", counting(3)),
  {
    name: "no hello",
    reader: "guest",
    hex: hexOf(concat(ascii("IVM1B"), counting(90))),
    nonceHex: hexOf(nonce),
    found: false,
  },
];

import { formatTime } from "@instavm/contract";

/** The last second that `formatTime` can write with four digits for the year. */
const lastTimeMs = Date.UTC(9999, 11, 31, 23, 59, 59);

/** A time that a VM told, ms since 1970 UTC: it can be any. */
export function formatGuestTime(unixMs: number): string {
  return formatTime(Math.min(Math.max(unixMs, 0), lastTimeMs));
}

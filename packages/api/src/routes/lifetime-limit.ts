import { InstaVmError } from "@instavm/contract";

/** Throws when a lifetime is longer than allowed. Clients read the number from this sentence and try again with it. */
export function refuseLongLifetime(lifetimeS: number, maxS: number): void {
  if (lifetimeS <= maxS) return;
  throw new InstaVmError("limit_exceeded", `VM lifetime cannot exceed ${maxS}s; ${lifetimeS}s were asked for.`);
}

export { DeadlineExceeded, startDeadline, untilAborted, withDeadline } from "./deadline.ts";
export type { Deadline, DeadlineSignal } from "./deadline.ts";
export { buildResource, defer, makeResource } from "./disposables.ts";
export { CommandNotStarted, failureOf, runCommand } from "./run-command.ts";
export type { CommandOptions, CommandResult } from "./run-command.ts";
export { once, singleFlight } from "./single-flight.ts";
export { sleep } from "./sleep.ts";

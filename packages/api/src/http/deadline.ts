import type { InstaVmError } from "@instavm/contract";

/** When a client must have its answer, and what it gets when there is none. */
export interface AnswerDeadline {
  readonly ms: number;
  readonly error: () => InstaVmError;
}

/** The work's outcome, or the deadline's error. Late work is not stopped: it may still find out what became of the VM. */
export async function answerBy<Result>(deadline: AnswerDeadline, work: Promise<Result>): Promise<Result> {
  const { promise: tooLate, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(deadline.error()), deadline.ms);
  try {
    return await Promise.race([work, tooLate]);
  } finally {
    clearTimeout(timer);
  }
}

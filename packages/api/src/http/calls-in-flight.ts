import type { FastifyReply } from "fastify";

/** The calls that run now, each with a signal that aborts when its client leaves or the server stops. */
export class CallsInFlight {
  readonly #controllers = new Set<AbortController>();

  get count(): number {
    return this.#controllers.size;
  }

  /** Runs one call; the signal is dead after it. */
  async run<Result>(reply: FastifyReply, work: (signal: AbortSignal) => Promise<Result>): Promise<Result> {
    const controller = new AbortController();
    const onClose = (): void => {
      if (!reply.raw.writableFinished) controller.abort();
    };
    this.#controllers.add(controller);
    reply.raw.once("close", onClose);
    try {
      return await work(controller.signal);
    } finally {
      reply.raw.off("close", onClose);
      this.#controllers.delete(controller);
    }
  }

  abortAll(reason: Error): void {
    for (const controller of this.#controllers) controller.abort(reason);
  }
}

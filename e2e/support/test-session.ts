import type { CreateSessionOptions, ExecuteOptions, ExecuteResult, InstaVm, CreatedSession } from "instavm";
import type { RealServer } from "./real-server.ts";

/** A session of one test, with a VM of its own. Disposing of it kills it. */
export class TestSession implements AsyncDisposable {
  readonly client: InstaVm;
  readonly sessionId: string;
  readonly vmId: string | undefined;
  /** How the VM was started. */
  readonly start: string | undefined;

  private constructor(client: InstaVm, { sessionId, vmId, start }: CreatedSession) {
    this.client = client;
    this.sessionId = sessionId;
    this.vmId = vmId;
    this.start = start;
  }

  /** Resolves when its VM is ready. */
  static async open(server: RealServer, options: CreateSessionOptions = {}): Promise<TestSession> {
    const { client } = server;
    return new TestSession(client, await client.createSession({ lifetimeS: 1200, ...options }));
  }

  /** Runs code of no stated language. */
  async run(code: string, options: ExecuteOptions = {}): Promise<ExecuteResult> {
    return await this.client.execute(this.sessionId, code, options);
  }

  async python(code: string, options: ExecuteOptions = {}): Promise<ExecuteResult> {
    return await this.run(code, { language: "python", ...options });
  }

  async bash(code: string, options: ExecuteOptions = {}): Promise<ExecuteResult> {
    return await this.run(code, { language: "bash", ...options });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.client.kill(this.sessionId);
  }
}

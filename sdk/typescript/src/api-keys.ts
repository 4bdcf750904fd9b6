import { operations } from "@instavm/contract";
import { toApiKey, toNewApiKey } from "./key-answers.ts";
import type { ApiKey, NewApiKey } from "./key-answers.ts";
import type { CallOptions, Transport } from "./transport.ts";

export interface CreateApiKeyOptions extends CallOptions {
  /** What the key is for. */
  readonly description?: string;
  /** By default `user`. */
  readonly role?: "admin" | "user";
}

export interface ListApiKeysOptions extends CallOptions {
  readonly includeRevoked?: boolean;
}

/** API keys: an admin sees all, a user its own. */
export class ApiKeys {
  readonly #transport: Transport;

  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /** Needs an admin's key. */
  async create(options: CreateApiKeyOptions = {}): Promise<NewApiKey> {
    const body = { description: options.description, role: options.role };
    return toNewApiKey(await this.#transport.call(operations.createKey, { body }, options));
  }

  async list(options: ListApiKeysOptions = {}): Promise<readonly ApiKey[]> {
    const query = options.includeRevoked === true ? { include_revoked: "true" as const } : {};
    return (await this.#transport.call(operations.listKeys, { query }, options)).map(toApiKey);
  }

  async get(keyId: number, options: CallOptions = {}): Promise<ApiKey> {
    return toApiKey(await this.#transport.call(operations.getKey, { params: { key_id: keyId } }, options));
  }

  async update(keyId: number, changes: { readonly description: string }, options: CallOptions = {}): Promise<ApiKey> {
    const input = { params: { key_id: keyId }, body: changes };
    return toApiKey(await this.#transport.call(operations.updateKey, input, options));
  }

  /** Revokes the key at once; its sessions live on until they expire. */
  async delete(keyId: number, options: CallOptions = {}): Promise<void> {
    await this.#transport.call(operations.deleteKey, { params: { key_id: keyId } }, options);
  }
}

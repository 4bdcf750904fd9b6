export { generateKey, hashKey } from "./api-keys.ts";
export { openStore, type Store, type StoreOptions } from "./open-store.ts";

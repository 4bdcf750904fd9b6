/** Runs one piece of database work; every failure becomes an error of the contract. */
export type Guarded = <T>(work: () => Promise<T>) => Promise<T>;

/** `explain` turns what the database threw into an error of the contract. */
export function guardedBy(explain: (error: unknown) => Error): Guarded {
  return async (work) => {
    try {
      return await work();
    } catch (error) {
      throw explain(error);
    }
  };
}

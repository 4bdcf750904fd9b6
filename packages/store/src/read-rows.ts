import { setImmediate as nextTurn } from "node:timers/promises";

/** Reading so many rows takes some ms. */
const sliceRows = 100;

/** Reads rows, however many they are, without holding up everything else that the program does. */
export async function readRows<Row, Record>(rows: readonly Row[], read: (row: Row) => Record): Promise<Record[]> {
  const records: Record[] = [];
  for (const [index, row] of rows.entries()) {
    if (index > 0 && index % sliceRows === 0) await nextTurn();
    records.push(read(row));
  }
  return records;
}

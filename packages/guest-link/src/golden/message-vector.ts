import {
  create,
  type DescMessage,
  type MessageInitShape,
  type MessageShape,
  toBinary,
  toJson,
} from "@bufbuild/protobuf";
import { hexOf } from "./bytes.ts";

/** One message, as bytes in field order and as protobuf JSON. */
export interface MessageVector {
  readonly name: string;
  readonly type: string;
  readonly hex: string;
  readonly json: unknown;
}

/** Builds one message and keeps its bytes. */
export const encoded = <Desc extends DescMessage>(schema: Desc, init: MessageInitShape<Desc>): Uint8Array =>
  toBinary(schema, create(schema, init));

/** One message as a row. */
export const vector = <Desc extends DescMessage>(
  name: string,
  schema: Desc,
  init: MessageInitShape<Desc>,
): MessageVector => {
  const message: MessageShape<Desc> = create(schema, init);
  return { name, type: schema.typeName, hex: hexOf(toBinary(schema, message)), json: toJson(schema, message) };
};

import { SessiondError, type Limits } from "@sessiond/shared";
import { EncodedFrames } from "../room/encoded-frames.ts";

/**
 * tRPC's envelope around frames that are text already. A frame was encoded once, for the journal;
 * here its text is put between the brackets of the batch, as bytes that its readers share, so that
 * sending to many of them costs no further encoding.
 */
interface Envelope {
  readonly result?: { readonly data?: { readonly data?: { readonly frames?: unknown } } };
}

/** Built from random characters once a process: no frame can contain it by accident or design. */
const placeOf = (mark: string) => `"${mark}"`;

export function frameEncoder(
  mark: string,
  { calls_per_message_max }: Limits,
): { encode(message: unknown): string | Uint8Array<ArrayBuffer>; decode(text: string | ArrayBuffer | Uint8Array): unknown } {
  return {
    encode(message) {
      const frames = (message as Envelope).result?.data?.data?.frames;
      if (!(frames instanceof EncodedFrames)) return JSON.stringify(message);
      const envelope = JSON.stringify(message, (_key, value: unknown) => (value === frames ? mark : value));
      const place = envelope.indexOf(placeOf(mark));
      return frames.within(envelope.slice(0, place), envelope.slice(place + mark.length + 2));
    },
    decode(text) {
      if (typeof text !== "string") throw new TypeError("requests are text");
      const message = JSON.parse(text) as unknown;
      // The adapter would answer each of its calls: a message of one megabyte with thirty.
      if (Array.isArray(message) && message.length > calls_per_message_max)
        throw new SessiondError("limit_reached", { limit: "calls_per_message_max", value: calls_per_message_max, unit: "calls" });
      return message;
    },
  };
}

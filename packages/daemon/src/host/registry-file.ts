import { schemas } from "@sessiond/shared";
import { z } from "zod";
import type { Contents } from "./durable-store.ts";

/**
 * The form of `registry.json`, and how it is written: of ten thousand entries a change concerns one. All others are the
 * objects that were there before, so each entry is checked once and made into text once; and it is frozen, so that
 * what was checked is what is written.
 */
const registryEntry = z.strictObject({
  id: schemas.sessionId,
  workdir: z.string(),
  /** The one session of its workdir. */
  stable: z.boolean(),
  life: z.int().nonnegative(),
  stopped: z.boolean(),
  created_at: schemas.millis,
  request_id: schemas.requestId.optional(),
  /** The API key that started it. */
  key_id: schemas.keyId.optional(),
  /** The API key that began the present life: in its share of the sessions it counts. */
  begun_by: schemas.keyId.optional(),
});
export type RegistryEntry = Readonly<z.infer<typeof registryEntry>>;

export const registryFile = z.strictObject({ version: z.literal(1), sessions: z.array(registryEntry) });
export interface RegistryFile {
  readonly version: 1;
  readonly sessions: readonly RegistryEntry[];
}

/** For one store: it remembers what it has checked. */
export function registryForm(): Pick<Contents<RegistryFile>, "schema" | "encode"> {
  /** Those that were checked; with their text, once they were written. */
  const texts = new WeakMap<RegistryEntry, string | null>();
  const isSound = (entry: RegistryEntry): boolean => {
    if (!texts.has(entry) && registryEntry.safeParse(entry).success) texts.set(Object.freeze(entry), null);
    return texts.has(entry);
  };
  const textOf = (entry: RegistryEntry): string => {
    const text = texts.get(entry) ?? JSON.stringify(entry);
    texts.set(entry, text);
    return text;
  };
  const sessions = z.custom<readonly RegistryEntry[]>((entries) => Array.isArray(entries) && entries.every(isSound));
  return {
    schema: z.strictObject({ version: z.literal(1), sessions }),
    encode: ({ version, sessions: entries }) => `{"version":${version},"sessions":[${entries.map(textOf).join(",")}]}`,
  };
}

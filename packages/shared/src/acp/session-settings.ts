import { z } from "zod";
import { list, maybe, meta } from "./lenient.ts";

const mode = z.object({ id: z.string(), name: z.string(), description: maybe(z.string()) });

/** Modes of a session, the one that holds among them. */
export const modes = maybe(z.object({ currentModeId: z.string(), availableModes: list(mode) }));

/** A value of a select; `group` is the heading under which it stands. */
export interface ReadConfigValue {
  readonly value: string;
  readonly name: string;
  readonly description?: string | undefined;
  readonly group?: string | undefined;
}
const value = z.object({ value: z.string(), name: z.string(), description: maybe(z.string()) });
const group = z.object({ group: z.string(), name: z.string(), options: list(value) });
const option = { id: z.string(), name: z.string(), description: maybe(z.string()), category: maybe(z.string()), _meta: meta };

/** A setting of a session. Values of a select may stand in groups; here they are one list, and each says its group. */
export const configOption = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("select"),
    currentValue: z.string(),
    options: list(z.union([value, group])).transform((entries) =>
      entries.flatMap((entry): ReadConfigValue[] => ("group" in entry ? entry.options.map((one) => ({ ...one, group: entry.name })) : [entry])),
    ),
    ...option,
  }),
  z.object({ type: z.literal("boolean"), currentValue: z.boolean(), ...option }),
]);
export type ReadConfigOption = z.output<typeof configOption>;

/** Settings where they may be absent: undefined says that the agent has none. */
export const configOptions = maybe(list(configOption));

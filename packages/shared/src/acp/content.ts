import { z } from "zod";
import { known, maybe, maybeList, meta } from "./lenient.ts";

const annotations = maybe(z.object({ audience: maybeList(z.enum(["assistant", "user"])), lastModified: maybe(z.string()), priority: maybe(z.number()) }));
const any = { annotations, _meta: meta };

const knownBlock = z.discriminatedUnion("type", [
  z.object({ type: z.literal("text"), text: z.string(), ...any }),
  z.object({ type: z.literal("image"), data: z.string(), mimeType: z.string(), uri: maybe(z.string()), ...any }),
  z.object({ type: z.literal("audio"), data: z.string(), mimeType: z.string(), ...any }),
  z.object({
    type: z.literal("resource_link"),
    uri: z.string(),
    name: z.string(),
    title: maybe(z.string()),
    description: maybe(z.string()),
    mimeType: maybe(z.string()),
    size: maybe(z.number()),
    ...any,
  }),
  z.object({
    type: z.literal("resource"),
    resource: z.union([
      z.object({ uri: z.string(), text: z.string(), mimeType: maybe(z.string()) }),
      z.object({ uri: z.string(), blob: z.string(), mimeType: maybe(z.string()) }),
    ]),
    ...any,
  }),
]);

/** What is not known, or not as it should be, kept whole. */
const unknownOf = (raw: unknown) => ({ type: "unknown" as const, unknown: raw });
type Unknown = ReturnType<typeof unknownOf>;

/** A block of content; of a type that we do not know, or broken: `{ type: "unknown", unknown: raw }`. */
export const contentBlock = z.unknown().transform((raw): z.output<typeof knownBlock> | Unknown => known(knownBlock, raw) ?? unknownOf(raw));
export type ReadContentBlock = z.output<typeof contentBlock>;

const knownToolContent = z.discriminatedUnion("type", [
  z.object({ type: z.literal("content"), content: contentBlock }),
  z.object({ type: z.literal("diff"), path: z.string(), oldText: maybe(z.string()), newText: z.string() }),
  z.object({ type: z.literal("terminal"), terminalId: z.string() }),
]);

/** What a tool call shows; of a type that we do not know, or broken: `{ type: "unknown", unknown: raw }`. */
const toolContentOf = (raw: unknown): z.output<typeof knownToolContent> | Unknown => known(knownToolContent, raw) ?? unknownOf(raw);
export type ReadToolContent = ReturnType<typeof toolContentOf>;

/** All of it, whatever is wrong with some: a person is asked about it. */
export const toolContents = z
  .unknown()
  .transform((raw) => (Array.isArray(raw) ? raw.map(toolContentOf) : undefined))
  .optional();

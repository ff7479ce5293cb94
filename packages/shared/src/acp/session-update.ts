import { z } from "zod";
import { contentBlock, toolContents } from "./content.ts";
import { list, maybe, meta, or } from "./lenient.ts";
import { configOption } from "./session-settings.ts";

/** Words of ACP. */
export const acpToolKinds = ["read", "edit", "delete", "move", "search", "execute", "think", "fetch", "switch_mode", "other"] as const;
export const acpToolStatuses = ["pending", "in_progress", "completed", "failed"] as const;
export const acpPermissionKinds = ["allow_once", "allow_always", "reject_once", "reject_always"] as const;

const location = z.object({ path: z.string(), line: maybe(z.number()) });
/** Absent fields of an update mean "as it was"; a `content` or `locations` that is there replaces what was. */
const toolFields = {
  name: maybe(z.string()),
  kind: maybe(z.enum(acpToolKinds)),
  status: maybe(z.enum(acpToolStatuses)),
  locations: maybe(list(location)),
  content: toolContents,
  rawInput: z.unknown().optional(),
  rawOutput: z.unknown().optional(),
  _meta: meta,
};

/** A change of a tool call, as it also stands in a permission request. */
export const toolCallUpdate = z.object({ toolCallId: z.string(), title: maybe(z.string()), ...toolFields });

const chunk = { content: contentBlock, messageId: maybe(z.string()), _meta: meta };
const planEntry = z.object({
  content: z.string(),
  priority: or(z.enum(["high", "medium", "low"]), "medium"),
  status: or(z.enum(["pending", "in_progress", "completed"]), "pending"),
});
const command = z.object({ name: z.string(), description: or(z.string(), ""), input: maybe(z.object({ hint: z.string() })) });
const of = <K extends string>(kind: K) => ({ sessionUpdate: z.literal(kind) });

const known = z.discriminatedUnion("sessionUpdate", [
  z.object({ ...of("user_message_chunk"), ...chunk }),
  z.object({ ...of("agent_message_chunk"), ...chunk }),
  z.object({ ...of("agent_thought_chunk"), ...chunk }),
  z.object({ ...of("tool_call"), toolCallId: z.string(), title: z.string().catch(""), ...toolFields }),
  z.object({ ...of("tool_call_update"), ...toolCallUpdate.shape }),
  z.object({ ...of("plan"), entries: list(planEntry), _meta: meta }),
  z.object({ ...of("available_commands_update"), availableCommands: list(command), _meta: meta }),
  z.object({ ...of("current_mode_update"), currentModeId: z.string(), _meta: meta }),
  z.object({ ...of("config_option_update"), configOptions: list(configOption), _meta: meta }),
  // Here `null` says that there is none any more, and absent that it is as it was.
  z.object({ ...of("session_info_update"), title: z.string().nullish().catch(undefined), updatedAt: z.string().nullish().catch(undefined), _meta: meta }),
  z.object({
    ...of("usage_update"),
    used: z.number(),
    size: z.number(),
    cost: maybe(z.object({ amount: z.number(), currency: z.string() })),
    _meta: meta,
  }),
  z.object({ ...of("notice"), severity: z.string().catch("info"), title: z.string(), description: maybe(z.string()), _meta: meta }),
  z.object({
    ...of("compaction_update"),
    compactionId: z.string(),
    status: z.string(),
    summary: maybe(list(contentBlock)),
    error: maybe(z.string()),
    _meta: meta,
  }),
  z.object({ ...of("compaction_summary_chunk"), compactionId: z.string(), content: contentBlock, _meta: meta }),
]);

export type ReadUpdate = z.output<typeof known>;
const kinds: ReadonlySet<unknown> = new Set(known.options.map((option) => option.shape.sessionUpdate.value));

/**
 * Params of `session/update`. Of a kind that we do not know the update is `{ known: false, raw }`; one of a kind that we know
 * without what it cannot do without is an error.
 */
export const sessionUpdate = z
  .object({ sessionId: z.string(), update: z.looseObject({ sessionUpdate: z.string() }), _meta: meta })
  .transform(({ sessionId, update, _meta }, context) => {
    if (!kinds.has(update.sessionUpdate)) return { sessionId, _meta, update: { known: false as const, raw: update as unknown } };
    const read = known.safeParse(update);
    if (read.success) return { sessionId, _meta, update: { known: true as const, ...read.data } };
    for (const issue of read.error.issues) context.addIssue({ code: "custom", message: issue.message, path: ["update", ...issue.path] });
    return z.NEVER;
  });
export type ReadSessionUpdate = z.output<typeof sessionUpdate>;

import { z } from "zod";
import { contentBlock } from "./content.ts";
import { flag, marker, maybe, maybeList, meta, parts } from "./lenient.ts";
import { implementation } from "./read-as-client.ts";

// What an agent reads: requests and notifications of a client, and its answers.

export const initializeRequest = z.object({
  protocolVersion: z.number(),
  clientInfo: implementation,
  clientCapabilities: parts({
    fs: parts({ readTextFile: flag, writeTextFile: flag }),
    terminal: flag,
    session: parts({ compaction: marker, configOptions: parts({ boolean: marker }), notices: marker }),
    elicitation: parts({ form: marker, url: marker }),
    _meta: meta,
  }),
  _meta: meta,
});
export type ReadInitializeRequest = z.output<typeof initializeRequest>;

export const authenticateRequest = z.object({ methodId: z.string(), _meta: meta });

/** As they came: servers are passed on or refused, not used here. */
const place = { cwd: z.string().min(1), additionalDirectories: maybeList(z.string()), mcpServers: maybeList(z.unknown()), _meta: meta };
export const newSessionRequest = z.object(place);
export type ReadNewSessionRequest = z.output<typeof newSessionRequest>;

const sessionId = z.string().min(1);
export const loadSessionRequest = z.object({ sessionId, ...place });
export const resumeSessionRequest = z.object({ sessionId, ...place });
/** Of `session/load` and `session/resume`. */
export type ReadLoadSessionRequest = z.output<typeof loadSessionRequest>;

export const listSessionsRequest = z.object({ cwd: maybe(z.string()), cursor: maybe(z.string()), _meta: meta });
export type ReadListSessionsRequest = z.output<typeof listSessionsRequest>;

export const closeSessionRequest = z.object({ sessionId, _meta: meta });
export const deleteSessionRequest = z.object({ sessionId, _meta: meta });

/** A prompt is kept as it came: a block that is wrong is an `unknown` one, so that its loss can be told. */
export const promptRequest = z.object({ sessionId, prompt: z.array(contentBlock), _meta: meta });
export type ReadPromptRequest = z.output<typeof promptRequest>;

export const setModeRequest = z.object({ sessionId, modeId: z.string(), _meta: meta });
export type ReadSetModeRequest = z.output<typeof setModeRequest>;

export const setConfigOptionRequest = z.object({ sessionId, configId: z.string(), value: z.union([z.string(), z.boolean()]), _meta: meta });
export type ReadSetConfigOptionRequest = z.output<typeof setConfigOptionRequest>;

/** Params of the notification `session/cancel`. */
export const cancelNotification = z.object({ sessionId, _meta: meta });

/** The answer to `session/request_permission`. An outcome that we do not know counts as `cancelled`: nothing was allowed. */
export const permissionResponse = z.object({
  outcome: z
    .object({ outcome: z.string(), optionId: maybe(z.string()) })
    .transform(({ outcome, optionId }) =>
      outcome === "selected" && optionId !== undefined ? { outcome: "selected" as const, optionId } : { outcome: "cancelled" as const },
    ),
});
export type ReadPermissionResponse = z.output<typeof permissionResponse>;

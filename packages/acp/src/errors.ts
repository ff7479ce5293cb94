import { isSessiondError, type ErrorCode } from "@sessiond/client";
import { AcpError, acpErrors } from "@sessiond/shared/acp";

/** Failures as an editor shows them: a sentence that says what to do next, and our code in `data` for programs. */

const invalid: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["bad_request", "workdir_invalid", "model_unknown", "unsupported"]);
const unknown: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["not_found", "unauthenticated", "token_ended"]);

/**
 * @param sessionId    of the session that it is about
 * @param consequence  where somebody else drives: what has become of what was asked
 */
export function told(error: unknown, sessionId?: string, consequence?: string): unknown {
  if (!isSessiondError(error)) return error;
  const { code, detail } = error;
  if (code === "driver_taken" || code === "not_driver") return taken(detail["driver"], sessionId, consequence);
  const number = invalid.has(code) ? acpErrors.invalid_params : unknown.has(code) ? acpErrors.resource_not_found : acpErrors.internal_error;
  return new AcpError(number, error.message, { code });
}

function taken(driver: unknown, sessionId = "", consequence = "so nothing was sent"): AcpError {
  const who = typeof driver === "string" ? driver : "Somebody else";
  return new AcpError(
    acpErrors.internal_error,
    `${who} drives this session, ${consequence}. \`sessiond yield ${sessionId}\` in a terminal frees the wheel for this editor; \`sessiond take --force ${sessionId}\` takes it over there.`,
    { code: "driver_taken" },
  );
}

export const onlyLooks = (): AcpError =>
  new AcpError(acpErrors.invalid_request, "This connection only looks: it was started with --viewer.", { code: "role_too_small" });

export const notOpen = (sessionId: string): AcpError =>
  new AcpError(acpErrors.resource_not_found, `The session ${sessionId} is not open here: load or resume it first, or begin a new one.`, { code: "not_found" });

export const tooMany = (limit: string, value: number): AcpError =>
  new AcpError(acpErrors.internal_error, `Limit ${limit} reached (${value}).`, { code: "limit_reached", limit, value });

export const refused = (sentence: string): AcpError => new AcpError(acpErrors.invalid_params, sentence, { code: "unsupported" });

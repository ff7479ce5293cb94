import { escapeDeceptive, limits } from "@sessiond/shared";
import { acpErrors, isAcpError } from "@sessiond/shared/acp";
import { clip } from "../bounded.ts";
import type { Hide } from "./hidden-secrets.ts";

/** Why a turn could not be run, as its end tells it. */
export class TurnFailure extends Error {
  readonly code: string;

  constructor(code: "agent_unavailable" | "agent_ended" | "agent_failed" | "model_unknown" | "unsupported", message: string) {
    super(clip(message, limits.failure_chars_max));
    this.code = code;
  }
}

/** What an agent said, for a sentence of ours: without secrets, without what a terminal would obey, and not longer than it is read. */
export const quoted = (text: string, hide: Hide): string => clip(escapeDeceptive(hide(text)).trim(), limits.agent_text_chars_max);

/** The words of its error, with what it says about it beside: some say `Internal error` and the reason in the data. */
export function wordsOfError(error: unknown, hide: Hide): string {
  if (!isAcpError(error)) return "it failed";
  if (error.code === acpErrors.timed_out) return "it did not answer in time";
  const { data } = error;
  const details = typeof data === "object" && data !== null && "details" in data ? data.details : data;
  const more = typeof details === "string" ? details : details === undefined || details === null ? "" : JSON.stringify(details);
  return quoted(more === "" || error.message.includes(more) ? error.message : `${error.message} (${more})`, hide);
}

import type { Limits } from "../limits.ts";
import { acpErrors } from "./acp-error.ts";
import type { CutLine } from "./line-cutter.ts";

export type RequestId = string | number | null;

/** What a line says. */
export type Message =
  | { readonly kind: "request"; readonly id: RequestId; readonly method: string; readonly params: unknown }
  | { readonly kind: "notification"; readonly method: string; readonly params: unknown }
  | { readonly kind: "response"; readonly id: unknown; readonly result: unknown }
  | { readonly kind: "failure"; readonly id: unknown; readonly code: number; readonly message: string; readonly data: unknown; readonly theirs: boolean }
  /** To be answered by an error. */
  | { readonly kind: "refused"; readonly id: RequestId; readonly code: number; readonly why: string }
  /** A notification beyond a limit: there is nothing to answer. */
  | { readonly kind: "dropped"; readonly why: string }
  /** Nothing to answer: not JSON-RPC at all. */
  | { readonly kind: "ignored" };

const ignored: Message = { kind: "ignored" };
const refused = (id: RequestId, why: string, code: number = acpErrors.invalid_request): Message => ({ kind: "refused", id, code, why });

/** Reads a line; never throws. Strict about requests, which somebody waits for, and lenient about answers, which we wait for. */
export function readMessage(line: CutLine, limits: Limits): Message {
  if ("refused" in line) return ofUnread(line, limits);
  // Agents let words slip onto their stdout; an error for each would only come back as noise.
  if (!line.text.startsWith("{") && !line.text.startsWith("[")) return ignored;
  let value: unknown;
  try {
    value = JSON.parse(line.text);
  } catch {
    return refused(null, "This is not JSON.", acpErrors.parse_error);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return refused(null, "A message is a JSON object; batches are not taken.");
  return ofObject({ ...value }, limits);
}

function ofObject(said: Record<string, unknown>, limits: Limits): Message {
  const { id, method } = said;
  if (method === undefined) return ofAnswer(said);
  if (id !== undefined && !fits(id, limits)) {
    return refused(null, `An id is a string of at most ${limits.acp_id_chars_max} characters, a whole number, or null.`);
  }
  const bad = typeof method !== "string" ? "A method is a string." : said["jsonrpc"] !== "2.0" ? 'The member "jsonrpc" has to be "2.0".' : null;
  if (bad !== null) return id === undefined ? ignored : refused(id, bad);
  return id === undefined
    ? { kind: "notification", method: String(method), params: said["params"] }
    : { kind: "request", id, method: String(method), params: said["params"] };
}

/** A message without a method. Never answered if it could be an answer itself: two peers would go on about it for ever. */
function ofAnswer(said: Record<string, unknown>): Message {
  const { id, error, result } = said;
  if (error !== undefined && error !== null) {
    const { code, message, data }: Record<string, unknown> = typeof error === "object" ? { ...error } : { message: error };
    return {
      kind: "failure",
      id,
      code: typeof code === "number" && Number.isSafeInteger(code) ? code : acpErrors.internal_error,
      message: typeof message === "string" && message !== "" ? message : "The other side gave no reason.",
      data,
      theirs: true,
    };
  }
  // A handler that returns nothing leaves some peers without a `result`: to a request of ours that is an answer too.
  if ("result" in said || "error" in said || id !== undefined) return { kind: "response", id, result: result ?? null };
  return refused(null, "There is neither a method nor an id.");
}

function ofUnread({ refused: { id, kind }, limit, bytes }: Extract<CutLine, { refused: unknown }>, limits: Limits): Message {
  const what = { acp_message_bytes_max: `of ${bytes} bytes is longer than`, acp_depth_max: "is nested deeper than", acp_values_max: "has more values than" };
  const why = `A message ${what[limit]} ${limits[limit]} (limit ${limit}), and was not read.`;
  if (kind === "notification") return { kind: "dropped", why };
  if (kind === "response") return { kind: "failure", id, code: acpErrors.internal_error, message: why, data: { limit, value: limits[limit] }, theirs: false };
  return refused(
    kind === "request" && fits(id, limits) ? id : null,
    why,
    limit === "acp_message_bytes_max" ? acpErrors.parse_error : acpErrors.invalid_request,
  );
}

/** A whole number beyond those that are exact would be answered as another one. */
const fits = (id: unknown, limits: Limits): id is RequestId =>
  id === null || Number.isSafeInteger(id) || (typeof id === "string" && id.length <= limits.acp_id_chars_max);

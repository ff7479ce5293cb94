import { limits } from "@sessiond/shared";
import { AnswerTooLarge } from "./bounded-answer.ts";

/**
 * Says what went wrong with a model in a sentence that a person can act on, and whether trying
 * again makes sense. Such a sentence goes into journals: it never holds a key.
 */
export interface ModelFailure {
  readonly code: string;
  readonly message: string;
}

interface Where {
  readonly apiKey: string;
  readonly baseURL: string;
  /** True when the answer had begun. */
  readonly midway?: boolean;
}

/** The SDK's errors by shape, so that this file need not load it. */
interface HttpError extends Error {
  readonly status?: number | undefined;
  readonly code?: string | null | undefined;
  readonly headers?: Headers | undefined;
}
const httpError = (error: unknown): HttpError => (error instanceof Error ? error : new Error(String(error)));

const firstRetryMs = 500;

/**
 * @returns milliseconds to wait, the server's own `retry-after` first; null when trying again is pointless
 */
export function retryAfter(error: unknown, retries: number): number | null {
  const { status, code, headers } = httpError(error);
  if (status === undefined || (status !== 429 && status < 500) || code === "insufficient_quota") return null;
  if (headers?.get("x-should-retry") === "false") return null;
  const ms = Number.parseFloat(headers?.get("retry-after-ms") ?? "");
  if (ms >= 0) return ms;
  const after = headers?.get("retry-after") ?? "";
  if (/^\s*\d+(\.\d+)?\s*$/.test(after)) return Number(after) * 1_000;
  const at = Date.parse(after);
  if (Number.isNaN(at)) return firstRetryMs * 2 ** retries;
  // An instant of the server's clock, which says what it shows now; this machine's may be set otherwise.
  return Math.max(0, at - (Date.parse(headers?.get("date") ?? "") || Date.now()));
}

export function failureOf(error: unknown, where: Where): ModelFailure {
  const { status, code, message, headers } = httpError(error);
  const said = redact(message, where.apiKey);
  const host = hostOf(where.baseURL);
  if (error instanceof AnswerTooLarge)
    return { code: "model_too_much", message: `${host} sent ${error.words}, so the turn was ended. Look whether the model's server is well.` };
  // What a server says about a key often repeats a part of it.
  if (status === 401 || status === 403) {
    return {
      code: "model_auth",
      message: `${host} refused the key (HTTP ${status}). Set a valid one with OPENAI_API_KEY where the daemon is started, or api_key_file in config.toml under [model].`,
    };
  }
  if (status !== undefined && status >= 300 && status < 400) {
    const elsewhere = redact(addressOf(headers?.get("location") ?? "", where.baseURL), where.apiKey);
    return {
      code: "model_moved",
      message: `${host} wants the conversation sent to ${elsewhere} instead (HTTP ${status}). It was not: if that is the right server, set it as base_url in config.toml under [model].`,
    };
  }
  if (status === 404) return { code: "model_unknown", message: `${host} does not know this model or address: ${said}` };
  if (code === "insufficient_quota") return { code: "model_quota", message: `The account at ${host} has no quota left: ${said}` };
  if (status === 429) return { code: "model_rate_limited", message: `${host} takes no more requests for now (HTTP 429). Try again later. It says: ${said}` };
  if (status !== undefined && status >= 500)
    return { code: "model_unwell", message: `${host} is not well (HTTP ${status}). Try again later. It says: ${said}` };
  if (status !== undefined) return { code: "model_refused", message: `${host} refused the request: ${said}` };
  if (where.midway === true)
    return { code: "model_cut", message: `The connection to ${host} broke in the middle of the answer (${causeOf(error) || said}). Send the prompt again.` };
  return { code: "model_unreachable", message: `No model could be reached at ${host} (${causeOf(error) || said}). Is its server running, and base_url right?` };
}

const messageCharsMax = 500;

function redact(text: string, apiKey: string): string {
  const without = apiKey.length >= limits.secret_chars_min ? text.replaceAll(apiKey, "[key]") : text;
  return without
    .replace(/\b(sk|pk|gsk|xai|key)-[\w*.…-]+/gi, "[key]")
    .replace(/\bBearer\s+\S+/gi, "Bearer [key]")
    .slice(0, messageCharsMax);
}

/** Without user, password and query, which may be secrets. */
function hostOf(baseURL: string): string {
  return URL.canParse(baseURL) ? new URL(baseURL).host : "The model's server";
}

/** As `hostOf`, with the path. */
function addressOf(location: string, baseURL: string): string {
  if (!URL.canParse(location, baseURL)) return "another address";
  const { origin, pathname } = new URL(location, baseURL);
  return `${origin}${pathname}`;
}

/** The innermost cause's code, as in ECONNREFUSED. */
function causeOf(error: unknown): string {
  for (let inner = error, depth = 0; inner instanceof Error && depth < 5; inner = inner.cause, depth += 1) {
    if ("code" in inner && typeof inner.code === "string" && inner.code !== "") return inner.code;
  }
  return "";
}

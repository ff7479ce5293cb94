import { existsSync, renameSync, statSync } from "node:fs";
import pino from "pino";
import { escapeInJson, isSessiondError, limits, withoutSecrets } from "@sessiond/shared";

/**
 * The daemon's log: JSON lines in its state directory, kept once as `.1` whenever it has grown. What
 * cannot be written never fails who wrote it: it waits in memory for the next line that can be. Whatever a
 * line was made of, no secret stands in it, and nothing that a terminal obeys.
 */
export interface Log {
  info(what: string, facts?: Record<string, unknown>): void;
  error(what: string, error: unknown): void;
}

/** @param foreign  secrets that do not look like ours, such as the model's key; one of a few letters is a dummy, and would be found in every line */
export function openLog(path: string, maxBytes: number, foreign: readonly string[] = []): Log {
  let bytes = existsSync(path) ? statSync(path).size : 0;
  const file = pino.destination({ dest: path, sync: true, mode: 0o600, maxLength: limits.log_pending_bytes_max });
  // Without a listener a full disk would throw in the middle of whatever was to be logged, and end the daemon.
  file.on("error", () => undefined);
  file.on("write", (written: number) => (bytes += written));
  const keepShort = () => {
    if (bytes <= maxBytes) return;
    bytes = 0;
    try {
      renameSync(path, `${path}.1`);
      file.reopen();
    } catch {
      // It grows on in the old file until the next time: better than no log.
    }
  };
  const hidden = foreign.filter((secret) => secret.length >= limits.secret_chars_min);
  const safe = (text: string): string => hidden.reduce((left, secret) => left.replaceAll(secret, "…"), withoutSecrets(text));
  // In what the line says, not in how it is written: it stays JSON whatever a secret looks like.
  const clean = (line: string): string => `${escapeInJson(JSON.stringify(inStrings(JSON.parse(line), safe)))}\n`;
  const logger = pino(
    { base: null, timestamp: pino.stdTimeFunctions.isoTime, redact: ["auth", "token", "host_key", "seat_secret", "*.auth", "*.token"] },
    { write: (line) => void file.write(clean(line)) },
  );
  return {
    info: (what, facts = {}) => {
      keepShort();
      logger.info(facts, what);
    },
    error: (what, error) => {
      keepShort();
      // Expected errors need no stack.
      const facts = isSessiondError(error) ? { code: error.code, detail: error.detail } : { stack: error instanceof Error ? error.stack : String(error) };
      logger.error(facts, what);
    },
  };
}

/** The same value with `change` made to each text in it, to names too. */
function inStrings(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === "string") return change(value);
  if (Array.isArray(value)) return value.map((each) => inStrings(each, change));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [change(name), inStrings(each, change)]));
}

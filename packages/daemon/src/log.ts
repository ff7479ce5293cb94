import { existsSync, renameSync, statSync } from "node:fs";
import pino from "pino";
import { isSessiondError } from "@sessiond/shared";

/** The daemon's log: JSON lines in its state directory, kept once as `.1` when it has grown. */
export interface Log {
  info(what: string, facts?: Record<string, unknown>): void;
  error(what: string, error: unknown): void;
}

export function openLog(path: string, maxBytes: number): Log {
  if (existsSync(path) && statSync(path).size > maxBytes) renameSync(path, `${path}.1`);
  const logger = pino(
    { base: null, timestamp: pino.stdTimeFunctions.isoTime, redact: ["auth", "token", "host_key", "seat_secret", "*.auth", "*.token"] },
    pino.destination({ dest: path, sync: true, mode: 0o600 }),
  );
  return {
    info: (what, facts = {}) => logger.info(facts, what),
    // Expected errors need no stack.
    error: (what, error) =>
      logger.error(isSessiondError(error) ? { code: error.code, detail: error.detail } : { stack: error instanceof Error ? error.stack : String(error) }, what),
  };
}

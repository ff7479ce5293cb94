import { existsSync, renameSync, statSync } from "node:fs";
import pino from "pino";
import { isSessiondError, limits } from "@sessiond/shared";

/**
 * The daemon's log: JSON lines in its state directory, kept once as `.1` whenever it has grown. What
 * cannot be written never fails who wrote it: it waits in memory for the next line that can be.
 */
export interface Log {
  info(what: string, facts?: Record<string, unknown>): void;
  error(what: string, error: unknown): void;
}

export function openLog(path: string, maxBytes: number): Log {
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
  const logger = pino(
    { base: null, timestamp: pino.stdTimeFunctions.isoTime, redact: ["auth", "token", "host_key", "seat_secret", "*.auth", "*.token"] },
    file,
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

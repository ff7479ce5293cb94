import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { isErrorCode, SessiondError } from "@sessiond/shared";

/** What a daemon that could not start left in its log for whoever started it: it has no terminal to say it on. */
const tailBytes = 16_384;

/** @returns its sentence, without the full stop; undefined when the log says nothing since then */
export function whyNotStarted(stateDir: string, since: number): string | undefined {
  for (const text of tailOf(join(stateDir, "daemon.log")).split("\n").toReversed()) {
    const line = parsed(text);
    if (line?.["msg"] !== "could not start" || Date.parse(String(line["time"])) < since) continue;
    const { code, detail } = line;
    if (isErrorCode(code)) return new SessiondError(code, typeof detail === "object" && detail !== null ? { ...detail } : {}).message.replace(/\.$/, "");
  }
  return undefined;
}

function tailOf(path: string): string {
  try {
    const file = openSync(path, "r");
    try {
      const { size } = fstatSync(file);
      const bytes = Buffer.alloc(Math.min(size, tailBytes));
      return bytes.toString("utf8", 0, readSync(file, bytes, 0, bytes.length, size - bytes.length));
    } finally {
      closeSync(file);
    }
  } catch {
    return "";
  }
}

function parsed(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

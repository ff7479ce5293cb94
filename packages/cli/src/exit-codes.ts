import { isSessiondError, type ErrorCode } from "@sessiond/client";

/** The table of exit codes, and which of them a failure means. Nothing else in the command chooses a number. */
export const exitCodes = {
  done: 0,
  failed: 1,
  usage: 2,
  refused: 3,
  no_daemon: 4,
  seat_taken: 5,
  not_authorised: 6,
  timed_out: 7,
  interrupted: 130,
} as const;

export type ExitName = keyof typeof exitCodes;

/** Stands at the end of every `--help`. */
export const exitCodesHelp =
  "Exit codes: 0 done, 1 the turn failed or doctor or verify found something, 2 usage,\n            3 approval refused or left open, 4 no daemon, 5 seat taken, 6 not authorised,\n            7 timed out, 130 interrupted.";

const byError: Partial<Record<ErrorCode, ExitName>> = {
  bad_request: "usage",
  not_found: "usage",
  workdir_invalid: "usage",
  model_unknown: "usage",
  unsupported: "usage",
  daemon_unreachable: "no_daemon",
  driver_taken: "seat_taken",
  not_driver: "seat_taken",
  unauthenticated: "not_authorised",
  role_too_small: "not_authorised",
  not_attached: "not_authorised",
  token_ended: "not_authorised",
  timeout: "timed_out",
  cancelled: "interrupted",
};

/** A failure of the command itself: its sentence says what to do next. */
export class Failure extends Error {
  override readonly name = "Failure";
  readonly exit: ExitName;

  constructor(exit: ExitName, message: string) {
    super(message);
    this.exit = exit;
  }
}

export function exitOf(error: unknown): ExitName {
  if (error instanceof Failure) return error.exit;
  return isSessiondError(error) ? (byError[error.code] ?? "failed") : "failed";
}

/** One sentence for a person; never a stack. */
export function sentenceOf(error: unknown): string {
  if (isSessiondError(error, "driver_taken"))
    return `The driver's seat is taken by ${String(error.detail["driver"] ?? "another client")}. \`sessiond take --ask\` asks for it; \`sessiond attach --view\` only looks.`;
  if (error instanceof Failure || isSessiondError(error)) return error.message;
  return `${error instanceof Error ? error.message : String(error)}. This is a bug in sessiond; please report it with the command you gave.`;
}

import type { Approval, SessionInfo } from "@sessiond/client";
import { left, parseDuration, spoken } from "./duration.ts";
import { Failure } from "./exit-codes.ts";

/** What becomes of a question while no driver is seated, as a person writes and reads it. */
export type Policy = SessionInfo["policy"];

/** `hold`, or `reject-after=10m`. @throws Failure usage */
export function parsePolicy(text: string): Policy {
  if (text === "hold") return { type: "hold" };
  const [name, duration, ...rest] = text.split("=");
  if (name === "reject-after" && duration !== undefined && rest.length === 0) return { type: "reject_after", ms: parseDuration(duration) };
  throw new Failure("usage", `\`${text}\` is no policy; write hold, or reject-after=10m.`);
}

export const policyWords = (policy: Policy): string => (policy.type === "hold" ? "hold" : `reject-after ${spoken(policy.ms)}`);

/**
 * How long a question still has, or null where it waits for ever.
 *
 * @param now  when this is read, by the daemon's clock
 */
export function clockWords({ deadline, remaining_ms }: Pick<Approval, "deadline" | "remaining_ms">, now: number): string | null {
  if (deadline !== undefined) return `nobody drives: refused in ${left(deadline - now)} unless answered`;
  return remaining_ms === undefined ? null : `${left(remaining_ms)} left to answer; the clock stands while a driver is here`;
}

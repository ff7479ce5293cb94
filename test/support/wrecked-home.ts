import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { isSessiondError, type SessiondError, type ViewerSeat } from "@sessiond/client";
import { daemonFile, type DaemonHome } from "./daemon-home.ts";

/** What the suites about places that are full, damaged or gone ask of a home, its daemons and its seats. */

/** A daemon that is run until it ends by itself. @param prefix  a command that runs it, as another account for one */
export async function runToItsEnd({ env }: DaemonHome, prefix: readonly string[] = []): Promise<{ code: number | null; said: string[] }> {
  const [command, ...args] = [...prefix, process.execPath, daemonFile];
  const child = spawn(command ?? process.execPath, args, { env, stdio: ["ignore", "ignore", "pipe"], cwd: "/" });
  let said = "";
  child.stderr.on("data", (piece) => (said += String(piece)));
  const code = await new Promise<number | null>((tell) => child.once("close", tell));
  return { code, said: said.split("\n").filter(Boolean) };
}

/** Names that writes which were cut short have left in the state directory. */
export const temporariesIn = ({ stateDir }: DaemonHome): string[] =>
  readdirSync(stateDir, { recursive: true, encoding: "utf8" }).filter((name) => /(^|\/)\.|\.(new|compact)$/.test(name));

/** What a call is refused with. @throws when it succeeds, or fails with anything else */
export const failure = (call: Promise<unknown>): Promise<SessiondError> =>
  call.then(
    () => Promise.reject(new Error("it did not fail")),
    (error: unknown) => (isSessiondError(error) ? error : Promise.reject(error as Error)),
  );

export async function until(seat: ViewerSeat, holds: () => boolean): Promise<void> {
  while (!holds()) await seat.changed();
}

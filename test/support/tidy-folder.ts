import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { DaemonHome } from "./daemon-home.ts";
import { eventually } from "./eventually.ts";

/** All that may lie in a daemon's directories while it runs; what a kill left half done would pile up beside it. */
const shapes: readonly (readonly [directory: string, names: RegExp])[] = [
  ["", /^(registry\.json|format\.json|keys\.json|rules\.json|host-key|lock|daemon\.log(\.1)?|audit\.jsonl(\.\d)?|sessions|open|unused)$/],
  ["unused", /^$/],
];
const inSession = /^(session\.json|journal(-\d+)?(\.compact)?|blobs)$/;

/** Resolves when nothing else lies there, and exactly these sessions are marked as open: a file being replaced has another name for an instant. */
export async function expectTidy(home: DaemonHome, sessionIds: readonly string[]): Promise<void> {
  let strange: string[] = [];
  await eventually("the daemon's directories are tidy", () => (strange = strangeIn(home, sessionIds)).length === 0, 3_000).catch(() => {
    throw new Error(`left in the daemon's directories: ${strange.join(", ")}`);
  });
}

function strangeIn(home: DaemonHome, sessionIds: readonly string[]): string[] {
  const found = shapes.flatMap(([directory, names]) => list(join(home.stateDir, directory), (name) => names.test(name)));
  const compacting = sessionIds.flatMap((id) => list(join(home.stateDir, "sessions", id), (name) => inSession.test(name)));
  const others = list(join(home.stateDir, "sessions"), (name) => sessionIds.includes(name));
  const open = readdirSync(join(home.stateDir, "open"));
  const marks = [...open.filter((id) => !sessionIds.includes(id)), ...sessionIds.filter((id) => !open.includes(id)).map((id) => `no open/${id}`)];
  return [...found, ...compacting, ...others, ...marks, ...list(home.runtimeDir, (name) => /^(sock|lock|starting)$/.test(name))];
}

const list = (path: string, known: (name: string) => boolean): string[] =>
  readdirSync(path)
    .filter((name) => !known(name))
    .map((name) => join(path, name));

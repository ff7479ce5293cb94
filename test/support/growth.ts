import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import type { Host, Session, ViewerSeat } from "@sessiond/client";
import { limits } from "@sessiond/shared";
import type { Held, MeasuredHome } from "./measured-home.ts";

/**
 * Leaks, found by halves: after a warm-up the same work is done twice, and the second time leaves nothing
 * behind that was not there after the first. Live objects are counted, so that one that is kept for each
 * operation shows in a hundred of them; bytes are compared over the whole, where they say the same.
 *
 * What waits holds on to its last batch in more or fewer places, depending on how its code was compiled by
 * then. So a half that left something is followed by another: a leak shows in each.
 */
export interface Endured {
  /** Held before, and after each half; two of them unless something was left. */
  readonly held: readonly Held[];
  readonly half: number;
  readonly operations: number;
}

/** What one operation may leave for good: an entry of the registry, say. */
export interface Allowed {
  readonly daemonObjects?: number;
  readonly clientObjects?: number;
  readonly daemonBytes?: number;
  /** Of all of it together, where windows are not full before. */
  readonly heapBytes?: number;
}

const halvesMax = 4;
const mebibyte = 1_048_576;
/** Compiled code comes and goes by a megabyte. */
const heapNoise = 2 * mebibyte;

/** @param work  is done with the numbers of a half, `[from, to)` */
export async function endure(
  home: MeasuredHome,
  { operations, work, allowed = {} }: { readonly operations: number; work(from: number, to: number): Promise<void>; readonly allowed?: Allowed },
): Promise<Endured> {
  const half = Math.ceil(operations / 2);
  const held = [await home.held()];
  while (held.length < 3 || (held.length <= halvesMax && left(held, half, allowed).length > 0)) {
    const done = (held.length - 1) * half;
    await work(done, done + half);
    held.push(await home.held());
  }
  const endured = { held, half, operations: (held.length - 1) * half };
  expect(left(held, half, allowed), `what each half of ${half} operations leaves: ${growthLine(endured)}`).toEqual([]);
  expectReturned(endured, allowed);
  return endured;
}

/** What the last half has left that it may not. */
function left(held: readonly Held[], half: number, { daemonObjects = 0, clientObjects = 0 }: Allowed): string[] {
  const [before, after] = held.slice(-2);
  if (before === undefined || after === undefined) return [];
  // The machine's own: a module's late parts, a list of timers. One in twenty operations that leaked would be more.
  const noise = 30 + half / 20;
  const bound = { daemon: half * daemonObjects + noise, clients: half * clientObjects + noise };
  return (["daemon", "clients"] as const).filter((who) => after[who].objects - before[who].objects > bound[who]);
}

function expectReturned({ held, operations }: Endured, { daemonBytes = 0, heapBytes = heapNoise }: Allowed): void {
  const [first, last] = [held[0], held.at(-1)];
  if (first === undefined || last === undefined) throw new Error("nothing was measured");
  for (const who of ["daemon", "clients"] as const) {
    const bytes = who === "daemon" ? operations * daemonBytes : 0;
    expect(last[who].heap - first[who].heap, `heap of the ${who}`).toBeLessThanOrEqual(bytes + heapBytes);
    expect(last[who].buffers - first[who].buffers, `buffers of the ${who}`).toBeLessThanOrEqual(mebibyte);
    expect(last[who].timers, `timers of the ${who}`).toBeLessThanOrEqual(first[who].timers);
  }
  expect(last.clients.descriptors, "descriptors of the clients").toBe(first.clients.descriptors);
}

/** Nothing that was only meant for a moment lies in the state directory, and nothing that only grows. */
export function expectTidy(home: MeasuredHome): void {
  const names = readdirSync(home.stateDir, { recursive: true, encoding: "utf8" });
  expect(names.filter((name) => /(^|\/)\./.test(name))).toEqual([]);
  expect(readdirSync(join(home.stateDir, "open"))).toEqual([]);
  // What one write adds may come on top.
  expect(statSync(join(home.stateDir, "audit.jsonl")).size).toBeLessThanOrEqual(limits.audit_bytes_max + mebibyte);
  expect(statSync(join(home.stateDir, "daemon.log")).size).toBeLessThanOrEqual(limits.log_bytes_max);
}

/**
 * Windows that are bounded fill up before anything is measured: room `host` keeps the newest 2,048 events, a
 * session's room the newest 4,096 frames.
 *
 * @returns a seat in each session, which keeps it awake, with its window
 */
export async function fillWindows(host: Host, sessions: readonly Session[]): Promise<ViewerSeat[]> {
  const { host_window_events_max: events = 0, window_frames_max: frames = 0 } = host.hello?.limits ?? {};
  const drivers = await Promise.all(sessions.map((session) => session.attach({ as: "driver", label: "filler" })));
  await Promise.all(drivers.map((driver) => driver.prompt(`stream ${frames}`)));
  // Each new title is one event of room `host`, unless it is shown together with another.
  const each = Math.ceil(events / drivers.length);
  await Promise.all(
    drivers.map(async (driver) => {
      for (let n = 0; n < each; n++) await driver.configure({ title: `title ${n}` });
    }),
  );
  await Promise.all(drivers.map((driver) => driver.detach()));
  return Promise.all(sessions.map((session) => session.attach({ as: "viewer", label: "holder" })));
}

/** One line for the record. */
export function growthLine({ held }: Endured): string {
  const grown = (who: "daemon" | "clients"): string =>
    held
      .slice(1)
      .map((now, n) => {
        const before = held[n]?.[who] ?? now[who];
        return `${signed(now[who].objects - before.objects)} objects ${signed(Math.round((now[who].heap - before.heap) / 1_024))} KiB`;
      })
      .join(", then ");
  return `daemon ${grown("daemon")} (of ${mib(held.at(-1)?.daemon.heap)}); clients ${grown("clients")} (of ${mib(held.at(-1)?.clients.heap)})`;
}

const signed = (n: number): string => (n < 0 ? String(n) : `+${n}`);
const mib = (bytes = 0): string => `${(bytes / mebibyte).toFixed(1)} MiB`;

import type { Host, ViewerSeat } from "@sessiond/client";
import { HeldHome } from "./held-home.ts";
import { idle } from "./idle-memory.ts";
import { readThrough, writeNotes } from "./long-transcript.ts";
import { median } from "./pairs.ts";
import type { Bench, How, Row } from "./row.ts";
import { SideProcess } from "./side-process.ts";
import { ViewSeats } from "./view-seats.ts";

/**
 * What a daemon holds, after a forced collection: heap and buffers, divided by how many sessions or viewers came since the
 * measurement before. What is bounded however many there are (compiled code, the window of events that watchers read) is
 * filled before the first one.
 */
export const memory: Bench = {
  name: "memory",
  about: "idle, and for each session live and at rest, each viewer, a transcript of 100 MB; limit of the idle one: bare tRPC",
  async run(how) {
    const model = await SideProcess.start<{ baseURL: string }>(how.dir, "model");
    const config = `name = "m"\nbase_url = "${model.ready.baseURL}"\napi_key = "k"\n`;
    try {
      const rows: Row[] = [];
      for (const part of [idle, sessionsLive, sessionsAtRest, viewers, longTranscript]) {
        const begun = performance.now();
        rows.push(...(await part(how, config)));
        how.tell(`${rows.at(-1)?.what}: done (${((performance.now() - begun) / 1000).toFixed(0)} s)`);
      }
      return rows;
    } finally {
      await model.end();
    }
  },
};

/** Bytes, in the unit in which its bar is. */
function figure(what: string, values: readonly number[], unit: "kB" | "MB", atMost: number): Row {
  const scaled = values.map((bytes) => bytes / { kB: 1e3, MB: 1e6 }[unit]);
  const ratio = median(scaled);
  return { what, sessiond: `${ratio.toFixed(2)} ${unit}`, limit: null, ratio, spread: [Math.min(...scaled), Math.max(...scaled)], bar: { atMost } };
}

async function withHome<T>(home: HeldHome, work: (host: Host) => Promise<T>): Promise<T> {
  try {
    return await work(await home.begin());
  } finally {
    await home.close();
  }
}

/** So many at once. */
const lanes = 8;

/** Sessions of their own directories that have had one turn; nobody is in them any more. */
async function used(host: Host, home: HeldHome, names: readonly string[]): Promise<void> {
  const left = [...names];
  const lane = async (): Promise<void> => {
    for (let name = left.pop(); name !== undefined; name = left.pop()) {
      const session = await host.startSession({ workdir: home.directory(name) });
      const seat = await session.attach({ as: "driver" });
      await seat.prompt("say something");
      await session.close();
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

/** What each of `count` adds, in so many parts. */
async function each(home: HeldHome, { parts, count, add }: { parts: number; count: number; add(names: readonly string[], part: number): Promise<void> }) {
  const added: number[] = [];
  let before = await home.held();
  for (let part = 0; part < parts; part++) {
    const names = Array.from({ length: count / parts }, (_, index) => `${part}-${index}`);
    await add(names, part);
    const after = await home.held();
    added.push((after - before) / names.length);
    before = after;
  }
  return added;
}

const warmUp = Array.from({ length: 24 }, (_, index) => `warm-${index}`);

async function sessionsLive({ short }: How, config: string): Promise<Row[]> {
  const home = new HeldHome(config);
  return withHome(home, async (host) => {
    await used(host, home, warmUp);
    if (!short) await fillHostWindow(host, home);
    const values = await each(home, { parts: short ? 1 : 4, count: short ? 24 : 200, add: (names) => used(host, home, names) });
    return [figure("memory, a live idle session", values, "kB", 60)];
  });
}

async function sessionsAtRest({ short }: How, config: string): Promise<Row[]> {
  const home = new HeldHome(config, atRestSoon);
  return withHome(home, async (host) => {
    await used(host, home, warmUp);
    await fillHostWindow(host, home);
    await allAtRest(host);
    const add = async (names: readonly string[]): Promise<void> => {
      await used(host, home, names);
      await allAtRest(host);
    };
    return [figure("memory, a session at rest", await each(home, { parts: short ? 1 : 4, count: short ? 48 : 1_000, add }), "kB", 2)];
  });
}

const atRestSoon = { rest_after_ms: 300, seat_grace_ms: 100 };

async function allAtRest(host: Host): Promise<void> {
  while ((await host.status()).sessions.live > 0) await new Promise((resolve) => setTimeout(resolve, 50));
}

/** Room `host` keeps its newest events in memory, so many and no more: each new title of a session is one. */
async function fillHostWindow(host: Host, home: HeldHome): Promise<void> {
  const each = Math.ceil((host.hello?.limits["host_window_events_max"] ?? 0) / lanes);
  const lane = async (_: unknown, lane: number): Promise<void> => {
    const session = await host.startSession({ workdir: home.directory(`titles-${lane}`) });
    const driver = await session.attach({ as: "driver" });
    await driver.prompt("say something");
    for (let title = 0; title < each; title++) await driver.configure({ title: `title ${title}` });
    await session.close();
  };
  await Promise.all(Array.from({ length: lanes }, lane));
}

async function viewers({ short }: How, config: string): Promise<Row[]> {
  const home = new HeldHome(config);
  return withHome(home, async (host) => {
    const session = await host.startSession({ workdir: home.directory("watched") });
    const driver = await session.attach({ as: "driver" });
    const places = new ViewSeats(session, home.env);
    const seats: ViewerSeat[] = [];
    // All of them are given something, and have taken it, when it is measured.
    const feed = async (chunks: number): Promise<void> => {
      await driver.prompt(`stream ${chunks}`);
      for (const seat of seats) while (seat.state.seq < driver.state.seq) await seat.changed();
    };
    const add = async (names: readonly string[]): Promise<void> => {
      for (const _ of names) seats.push(await places.take());
      await feed(1_000);
    };
    await add(warmUp);
    await feed(host.hello?.limits["window_frames_max"] ?? 0);
    const values = await each(home, { parts: short ? 1 : 4, count: short ? 24 : 200 - warmUp.length, add });
    await places.close();
    return [figure("memory, a viewer", values, "kB", 60)];
  });
}

async function longTranscript({ short }: How, config: string): Promise<Row[]> {
  const home = new HeldHome(config, atRestSoon);
  const megabytes = short ? 10 : 100;
  return withHome(home, async (host) => {
    const conversation = async (name: string, bytes: number): Promise<{ written: number; read: number }> => {
      const session = await host.startSession({ workdir: home.directory(name) });
      const driver = await session.attach({ as: "driver" });
      await driver.prompt("say something");
      await writeNotes(driver, bytes);
      const written = await home.held();
      await driver.detach();
      await allAtRest(host);
      const viewer = await session.attach({ as: "viewer" });
      await readThrough(session, bytes);
      const read = await home.held();
      await viewer.detach();
      await allAtRest(host);
      return { written, read };
    };
    // All that it takes is compiled by then.
    await conversation("small", 1e6);
    const before = await home.held();
    const { written, read } = await conversation("long", megabytes * 1e6);
    const what = `memory, a session of ${megabytes} MB`;
    return [figure(`${what}, just written`, [written - before], "MB", 4), figure(`${what}, woken and read through`, [read - before], "MB", 4)];
  });
}

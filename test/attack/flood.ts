import { limits } from "@sessiond/shared";
import { frameOf, type Entrance } from "./entrance.ts";
import { RawPeer } from "./raw-peer.ts";
import type { Stage } from "./stage.ts";
import { Tally } from "./tally.ts";

/** More streams and more calls than one connection may have, then streams that are begun and ended in one breath. */
export interface Flooded {
  readonly fates: {
    readonly streams: Readonly<Record<string, number>>;
    readonly calls: Readonly<Record<string, number>>;
    /** So many streams have ended. */
    readonly storm: number;
  };
  end(): Promise<unknown>;
}

interface Told {
  readonly id: number;
  readonly error?: { readonly data: { readonly code: string } };
  readonly result?: { readonly type: string; readonly id?: string };
}

export async function flood(entrance: Entrance, { auths, sessionId: session_id }: Stage): Promise<Flooded> {
  const peer = await RawPeer.upgraded(entrance);
  const told: Told[] = [];
  peer.onText = (text) => told.push(JSON.parse(text) as Told);
  const attach = (id: number): string =>
    JSON.stringify({
      id,
      method: "subscription",
      params: {
        path: "attach",
        input: { session_id, role: "viewer", label: `flood ${id}`, auth: { token: auths.driver?.["token"], seat_secret: `flood-${id}`.padEnd(32, "x") } },
      },
    });
  const say = (texts: readonly string[]): void => peer.say(Buffer.concat(texts.map((text) => frameOf(text))));
  const from = <T>(count: number, make: (n: number) => T): T[] => Array.from({ length: count }, (_, n) => make(n));
  /** By id the first word, of a stream after that it was started. */
  const firstOf = (low: number, count: number): Record<string, number> => {
    const first = new Map<number, string>();
    for (const { id, error, result } of told)
      if (id >= low && id < low + count && !first.has(id) && result?.type !== "started") first.set(id, error?.data.code ?? "ok");
    const tally = new Tally();
    for (const code of first.values()) tally.add(code);
    return Object.fromEntries(tally.counts);
  };
  const sum = (counts: Readonly<Record<string, number>>): number => Object.values(counts).reduce((all, count) => all + count, 0);

  const streams = limits.subscriptions_per_connection_max + 8;
  say(from(streams, attach));
  await peer.until(() => sum(firstOf(0, streams)) === streams);

  const calls = limits.calls_per_connection_max * 2;
  const info = (n: number): object => ({
    id: 1_000 + n,
    method: "query",
    params: { path: "session_info", input: { session_id, auth: { token: auths.driver?.["token"] } } },
  });
  say(from(calls / 64, (n) => JSON.stringify(from(64, (m) => info(64 * n + m)))));
  await peer.until(() => sum(firstOf(1_000, calls)) === calls);

  say(from(streams, (id) => JSON.stringify({ id, method: "subscription.stop" })));
  const storm = 500;
  const ended = (): number => new Set(told.filter(({ id, result }) => id >= 10_000 && result?.type === "stopped").map(({ id }) => id)).size;
  for (let n = 0; n < storm; n += 50) {
    say(from(50, (m) => `${attach(10_000 + n + m)}`).flatMap((text, m) => [text, JSON.stringify({ id: 10_000 + n + m, method: "subscription.stop" })]));
    await peer.until(() => ended() === n + 50);
  }
  const end = (): Promise<unknown> => {
    peer.end();
    return peer.ended;
  };
  return { fates: { streams: firstOf(0, streams), calls: firstOf(1_000, calls), storm: ended() }, end };
}

import { setTimeout as pause } from "node:timers/promises";
import { median } from "../pairs.ts";
import type { SideProcess } from "../side-process.ts";
import type { ModelReady, ModelTimes } from "./model.ts";
import type { Peer, PeerName, Served } from "./peer.ts";
import { residentBytes } from "./resident.ts";
import { series, type Figures, type Line } from "./series.ts";
import type { Seen, ViewersQuestion } from "./viewers.ts";

/** What is measured: each entry is a word of the command, and gives one row or some. */
export interface Place {
  readonly peers: readonly Peer[];
  readonly model: SideProcess<ModelReady>;
  readonly viewers: SideProcess<object>;
  readonly short: boolean;
  /** Hosts beyond this machine that were asked for, gathered here. */
  readonly refused: Set<string>;
  readonly tell: (line: string) => void;
  /** A server of each, started at the first call, for all rows that need one that runs. */
  live(): Promise<Readonly<Record<PeerName, Served>>>;
}

const ms = (value: number) => ({ unit: "ms", value }) as const;
const megabytes = (bytes: number) => ({ unit: "MB", value: bytes / 1e6 }) as const;
const now = (): bigint => process.hrtime.bigint();
const msBetween = (from: bigint | string, to: bigint | string): number => Number(BigInt(to) - BigInt(from)) / 1e6;

async function modelTimes({ model, refused }: Place): Promise<ModelTimes> {
  const times = await model.ask<ModelTimes>({});
  for (const host of times.refused) refused.add(host);
  return times;
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
}

export const measures: Readonly<Record<string, { readonly about: string; readonly run: (place: Place) => Promise<Line[]> }>> = {
  start: { about: "from spawning the server, in a home that it knows, to its first answer, and to its first session", run: start },
  memory: { about: "RSS of the server and its children: idle, and after a turn in each of 50 sessions", run: memory },
  create: { about: "a session, ready for its first prompt, its events coming", run: (place) => live(place, 5, create) },
  prompt: { about: "an empty turn: from the prompt until its client is told that it is over", run: (place) => live(place, 5, prompt) },
  approval: {
    about: "the model's tool call to the question at the client; the answer to the next model call (the tool does nothing)",
    run: (place) => live(place, 5, approval),
  },
  stream: { about: "100 chunks/s: from the model's writing of one to the viewer's callback", run: (place) => live(place, 3, stream) },
  fanout: { about: "chunks as fast as the server takes them, to 10 and to 50 viewers; every one counted", run: fanOut },
};

/** The first start makes files that later ones find: it is not counted. */
async function start(place: Place): Promise<Line[]> {
  const homes = new Map(place.peers.map((peer) => [peer.name, peer.home(place.model.ready.baseURL)]));
  const plan = { rounds: place.short ? 2 : 7, warmUp: true, tell: place.tell };
  const lines = await series(place.peers, plan, async ({ name }) => {
    const begun = performance.now();
    const served = await homes.get(name)?.start();
    if (served === undefined) throw new Error("no home");
    await served.create();
    const session = performance.now() - begun;
    await served.end();
    return { "start, to the first answer": ms(served.startMs), "start, to the first session": ms(session) };
  });
  await Promise.all([...homes.values()].map((home) => home.remove()));
  return lines;
}

async function memory(place: Place): Promise<Line[]> {
  const [sessions, rest] = place.short ? [10, 1_000] : [50, 3_000];
  return series(place.peers, { rounds: place.short ? 1 : 3, warmUp: false, tell: place.tell }, async (peer) => {
    const home = peer.home(place.model.ready.baseURL);
    await (await home.start()).end();
    const served = await home.start();
    await pause(rest);
    const idle = residentBytes(served.pid);
    for (let number = 0; number < sessions; number++) await (await served.create()).prompt("hello");
    await pause(rest);
    const used = residentBytes(served.pid);
    await served.end();
    await home.remove();
    return { "RSS idle": megabytes(idle), [`RSS with ${sessions} used sessions`]: megabytes(used) };
  });
}

/** All three run at once, and are asked by turns. */
async function live(place: Place, rounds: number, measure: (served: Served, place: Place) => Promise<Figures>): Promise<Line[]> {
  const served = await place.live();
  return series(place.peers, { rounds: place.short ? 2 : rounds, warmUp: true, tell: place.tell }, ({ name }) => measure(served[name], place));
}

const times = async (count: number, once: () => Promise<number>): Promise<number> => {
  const all: number[] = [];
  for (let number = 0; number < count; number++) all.push(await once());
  return median(all);
};

const create = async (served: Served): Promise<Figures> => ({ create: ms(await times(10, () => timed(() => served.create()))) });

async function prompt(served: Served): Promise<Figures> {
  const talk = await served.create();
  await talk.prompt("hello");
  return { "prompt, empty turn": ms(await times(10, () => timed(() => talk.prompt("hello")))) };
}

async function approval(served: Served, place: Place): Promise<Figures> {
  const talk = await served.create();
  await talk.prompt("hello");
  const asked: number[] = [];
  const next = await times(5, async () => {
    await modelTimes(place);
    const question = talk.question();
    const turn = talk.prompt("call");
    const { allow } = await Promise.race([question, turn.then(() => Promise.reject(new Error("the turn ended without a question")))]);
    const askedAt = now();
    await allow();
    await turn;
    const { calls, requests } = await modelTimes(place);
    const [called, answered] = [calls[0], requests[1]];
    if (called === undefined || answered === undefined || requests.length !== 2) throw new Error(`${requests.length} model calls in a turn with one tool`);
    asked.push(msBetween(called, askedAt));
    return msBetween(askedAt, answered);
  });
  return { "approval, tool call to question": ms(median(asked)), "approval, answer to next model call": ms(next) };
}

async function stream(served: Served, place: Place): Promise<Figures> {
  const { delays } = await watched(served, place, { viewers: 1, chunks: place.short ? 100 : 400, every: 10 });
  const sorted = delays.toSorted((a, b) => a - b);
  return { "stream, 100 chunks/s, p50": ms(median(sorted)), "stream, 100 chunks/s, p99": ms(sorted[Math.floor(sorted.length * 0.99)] ?? NaN) };
}

async function fanOut(place: Place): Promise<Line[]> {
  const lines: Line[] = [];
  for (const [viewers, whole] of [
    [10, 20_000],
    [50, 5_000],
  ] as const) {
    const chunks = place.short ? whole / 10 : whole;
    const what = `fan-out, ${viewers} viewers`;
    lines.push(
      ...(await live(place, 5, async (served) => {
        await modelTimes(place);
        const { at } = await watched(served, place, { viewers, chunks });
        const [begun = at] = (await modelTimes(place)).streams;
        return { [what]: { unit: "events/s", value: (chunks * viewers * 1_000) / msBetween(begun, at) } };
      })),
    );
  }
  return lines;
}

/** One streamed turn in a session of its own, and what its viewers saw of it. */
async function watched(
  served: Served,
  { viewers: process }: Place,
  { viewers, chunks, every }: { viewers: number; chunks: number; every?: number },
): Promise<Seen> {
  const talk = await served.create();
  // Some load a session's files only at its first turn, and let nobody watch before.
  await talk.prompt("hello");
  const ask = <Answer>(question: ViewersQuestion): Promise<Answer> => process.ask<Answer>(question);
  await ask({ watch: talk.door, viewers });
  try {
    const seen = ask<Seen>({ expect: chunks, of: every === undefined ? "numbers" : "times" });
    const [result] = await Promise.all([seen, talk.prompt(`stream ${chunks}${every === undefined ? "" : ` every ${every}`}`)]);
    return result;
  } finally {
    await ask({ leave: true });
  }
}

import { setTimeout as pause } from "node:timers/promises";
import { afterEach, expect, test } from "vitest";
import type { DriverSeat, Session, ViewerSeat } from "@sessiond/client";
import { amount, whole } from "../support/amount.ts";
import { eventually } from "../support/eventually.ts";
import { startModelServer, type Reply } from "../support/model-server.ts";
import { PeersHome } from "../support/peers-home.ts";
import { RawReader } from "../support/raw-reader.ts";
import { SeatsProcess } from "../support/seats-process.ts";
import { SickPeer } from "../support/sick-peer.ts";

/**
 * What the healthy notice of the sick: nothing. In the whole that is measured, with and without them in turns, as the
 * ratio of the medians; in the sample it is counted.
 */
const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const each of undo.splice(0).toReversed()) await each();
});

/** "pace N": N chunks, one each 3 ms, that say when they were sent; "burst N": N chunks at once; "fill N": N of 64 KB. */
async function speak(reply: Reply, prompt: string): Promise<void> {
  const [how, count = "0"] = prompt.split(" ");
  for (let n = 0; n < Number(count); n++) {
    if (how === "fill") reply.text(".".repeat(65_536));
    else reply.text(`${performance.now().toFixed(3)} `);
    if (how === "pace") await pause(3);
    // The loop is the viewers' too.
    else if (n % 500 === 499) await new Promise((resolve) => setImmediate(resolve));
  }
  reply.finish();
}

interface Healthy {
  readonly home: PeersHome;
  readonly session: Session;
  readonly driver: DriverSeat;
  readonly viewer: ViewerSeat;
  /** When each chunk was sent and came, since the last look. */
  readonly taken: { sent: number; came: number }[];
}

async function begin(): Promise<Healthy> {
  const model = await startModelServer([(reply, { body }) => speak(reply, body.messages.findLast(({ role }) => role === "user")?.content ?? "")]);
  undo.push(() => model.close());
  // The sick stay as long as the test lets them: here they are not judged.
  const times = { stall_ms: 3_600_000, heartbeat_ms: 3_600_000, seat_grace_ms: 200 };
  const home = new PeersHome(times, `name = "m"\nbase_url = "${model.baseURL}"\napi_key = "k"`);
  undo.push(() => home.close());
  const host = await home.begin();
  const session = await host.sessionForWorkdir(home.directory("a"));
  const driver = await session.attach({ as: "driver" });
  const viewer = await session.attach({ as: "viewer" });
  const taken: Healthy["taken"] = [];
  void (async () => {
    for await (const event of viewer.events) {
      if (event.type !== "frame" || event.frame.event.type !== "agent_message_chunk" || event.frame.event.content.type !== "text") continue;
      const came = performance.now();
      for (const sent of event.frame.event.content.text.trim().split(" ")) taken.push({ sent: Number(sent), came });
    }
  })();
  return { home, session, driver, viewer, taken };
}

/** One of each: takes nothing, takes a byte a second, is suspended with its whole process. @returns what ends them */
async function fallSick({ home, session }: Healthy): Promise<() => Promise<void>> {
  const stalled = new RawReader({ socketPath: home.socket, sessionId: session.id, token: session.token, label: "stalled" });
  await stalled.until(({ cursor }) => cursor !== "");
  stalled.pause();
  const sipping = await SickPeer.open(home.socket, { listens: false });
  sipping.attach({ sessionId: session.id, token: session.token, label: "sipping" });
  const sips = setInterval(() => sipping.takeByte(), 1_000);
  const suspended = await SeatsProcess.begin(home.env, session.token, [{ label: "suspended", as: "viewer" }]);
  suspended.suspend();
  const end = async (): Promise<void> => {
    clearInterval(sips);
    stalled.end();
    sipping.end();
    await suspended.end();
    await eventually("their seats are free", async () => (await session.info()).seats.length === 2);
  };
  undo.push(() => {
    clearInterval(sips);
    stalled.end();
    sipping.end();
    return suspended.end();
  });
  await eventually("they are seated", async () => (await session.info()).seats.length === 5);
  return end;
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

interface Figures {
  /** Milliseconds from the model's send to the viewer's callback. */
  readonly p50: number;
  readonly framesPerSecond: number;
}

const paced = amount(60, 300);
const burst = amount(1_000, 5_000);

async function turn({ driver, viewer, taken }: Healthy, prompt: string): Promise<readonly { sent: number; came: number }[]> {
  taken.length = 0;
  await driver.prompt(prompt);
  while (viewer.state.seq < driver.state.seq) await viewer.changed();
  const count = Number(prompt.split(" ")[1]);
  await eventually("its reader has taken everything", () => taken.length === count);
  return [...taken];
}

async function measure(healthy: Healthy): Promise<Figures> {
  const single = await turn(healthy, `pace ${paced}`);
  // The best of some: what else the machine does costs one of them, not all.
  const rates: number[] = [];
  for (let n = 0; n < amount(1, 4); n++) {
    const many = await turn(healthy, `burst ${burst}`);
    rates.push((many.length / ((many.at(-1)?.came ?? 0) - (many[0]?.sent ?? 0))) * 1_000);
  }
  return { p50: median(single.map(({ sent, came }) => came - sent)), framesPerSecond: Math.max(...rates) };
}

/** With or without the sick: everything else is the same, also what fills the sockets of the sick. */
async function phase(healthy: Healthy, sick: boolean): Promise<Figures & { sent: number; frames: number; lag: number }> {
  const end = sick ? await fallSick(healthy) : () => Promise.resolve();
  await turn(healthy, "fill 40");
  const { home, driver } = healthy;
  const [sent, seq] = [await home.metric("sessiond_frames_sent_total"), driver.state.seq];
  const figures = await measure(healthy);
  const counted = { sent: (await home.metric("sessiond_frames_sent_total")) - sent, frames: driver.state.seq - seq };
  const lag = await home.metric("sessiond_reader_lag_max_frames");
  await end();
  return { ...figures, ...counted, lag };
}

const pairs = amount(1, 7);
const line = (name: string, values: readonly number[]): string => `${name} ${median(values).toFixed(2)} (${values.map((value) => value.toFixed(1)).join(" ")})`;

test(
  `B24 B33 the healthy notice nothing of a stalled, a sipping and a suspended reader: ${whole ? "p50 and rate are the same within 1.5" : "nothing is read or sent for those"}`,
  { timeout: 280_000 },
  async () => {
    const healthy = await begin();
    // Warm.
    await phase(healthy, false);
    const [withSick, without]: [Figures[], Figures[]] = [[], []];
    const ratios = (): [number, number] => {
      const of = (key: keyof Figures): [number, number] => [median(withSick.map((each) => each[key])), median(without.map((each) => each[key]))];
      const [[p50, calm], [rate, calmRate]] = [of("p50"), of("framesPerSecond")];
      return [p50 / calm, calmRate / rate];
    };
    // A machine with other work is noisy: more pairs before it is believed.
    for (let round = 0; round < (whole ? 3 : 1); round++) {
      for (let pair = 0; pair < pairs; pair++) {
        const sick = await phase(healthy, true);
        // To driver and viewer, and to nobody else: the sockets of the sick are full.
        expect(sick.sent).toBe(2 * sick.frames);
        expect(sick.lag).toBeGreaterThan(paced + burst);
        withSick.push(sick);
        const calm = await phase(healthy, false);
        expect([calm.sent, calm.lag]).toEqual([2 * calm.frames, 0]);
        without.push(calm);
      }
      if (Math.max(...ratios()) <= 1.5) break;
    }
    const [latency, rate] = ratios();
    const column = (figures: readonly Figures[], key: keyof Figures): number[] => figures.map((each) => each[key]);
    console.log(
      `B33: ${withSick.length} pairs: ${line("p50 ms with", column(withSick, "p50"))}, ${line("without", column(without, "p50"))}, ratio ${latency.toFixed(2)}; ` +
        `${line("frames/s with", column(withSick, "framesPerSecond"))}, ${line("without", column(without, "framesPerSecond"))}, ratio ${rate.toFixed(2)}`,
    );
    if (whole) expect([latency, rate].map((ratio) => ratio <= 1.5)).toEqual([true, true]);
  },
);

import { limits, type VerbName } from "@sessiond/shared";
import { afterAll, beforeAll, expect, test } from "vitest";
import { amount, whole } from "../support/amount.ts";
import { seededChance } from "../support/chance.ts";
import { eventually } from "../support/eventually.ts";
import type { Figures } from "../fixtures/measured.mjs";
import { answersDue } from "./answers-due.ts";
import { inputOf, names, rowOf, wouldEndIt } from "./calls.ts";
import type { Entrance } from "./entrance.ts";
import { flood } from "./flood.ts";
import type { Fields } from "./json-text.ts";
import { mutators } from "./mutators.ts";
import { Bystanders } from "./bystanders.ts";
import { Stage, type Caller } from "./stage.ts";
import { Tally } from "./tally.ts";
import { Gunner, type Jury, type Shot } from "./volley.ts";

/**
 * What an attacker can put on the wire: every verb of the table by every mutator, with no credential, a wrong one and the
 * right ones, against a real daemon in which others are at work. SESSIOND_SEED repeats a run, SESSIOND_FRAMES says how much.
 */
const seed = Number(process.env["SESSIOND_SEED"] ?? Date.now() % 1_000_000);
const chance = seededChance(seed);
const messages = amount(2_000, 187_000, "SESSIOND_FRAMES");
/** Most without the right credential: those with it are slower, for what they do. */
const refused = Math.round(messages * (whole ? 0.88 : 0.8));
const shotsAVolley = 24;
const volleysASocket = 3;
const gunners = 8;

const tallies = { mutators: new Tally(), fates: new Tally(), cells: new Tally(), verbs: new Tally() };
let stage: Stage;
let before: Figures;
let liveBefore = 0;
let bystanders: Bystanders;
let entrances: readonly Entrance[] = [];

beforeAll(async () => {
  stage = new Stage();
  await stage.begin();
  entrances = await stage.entrances();
  bystanders = await Bystanders.sit(stage);
  before = await stage.figures();
  liveBefore = (await stage.host.status()).sessions.live;
}, 60_000);
afterAll(async () => {
  stage.letGo();
  await stage.close();
});

const jury: Jury = {
  callsMax: limits.calls_per_message_max,
  inspect(text, error) {
    if (error === undefined) return;
    const told =
      error.data.code === "internal" ||
      /node_modules|\.[jt]s:\d|ZodError|TRPCError|"stack"/.test(text) ||
      [...stage.secrets].some((secret) => text.includes(secret));
    if (told) throw new Error(`an answer that nobody may be given: ${text.slice(0, 500)}`);
  },
  fate({ verb, mutator }, fate) {
    tallies.mutators.add(mutator);
    tallies.fates.add(fate);
    tallies.cells.add(`${verb} × ${mutator}`);
    tallies.verbs.add(verb);
  },
};

/** Of the verbs that were called since the scene was last set. */
const inputs = new Map<VerbName, Fields>();
let ids = 1_000;
/** One call of a verb, as a mutator has it. */
function shotsOf(verb: VerbName, mutator: string, caller: Caller): Shot[] {
  ids += 100;
  const auth = stage.auths[caller];
  const input = inputs.get(verb) ?? inputOf(verb, stage.facts);
  inputs.set(verb, input);
  const mutate = mutators[mutator];
  if (mutate === undefined) throw new Error(`no mutator ${mutator}`);
  const { kind, gate } = rowOf(verb);
  const by = typeof gate === "string" ? undefined : gate.by;
  const given = { verb, kind, by, input: auth === undefined ? input : { ...input, auth }, id: ids, others: names, chance };
  const said = mutate(given);
  const ends = (caller === "owner" || caller === "key") && said.some((each) => answersDue(each, limits.calls_per_message_max).calls.some(wouldEndIt));
  return ends ? shotsOf(verb, mutator, "wrong") : said.map((each) => ({ verb, mutator, said: each }));
}

/** Mostly one whose credential the verb asks for, where they have any. */
function callerOf(verb: VerbName, callers: readonly Caller[]): Caller {
  const { gate } = rowOf(verb);
  const wanted: readonly Caller[] = typeof gate === "string" && /^host(_or_|$)/.test(gate) ? ["owner", "key"] : ["driver"];
  const fitting = callers.filter((caller) => wanted.includes(caller));
  const among = fitting.length > 0 && chance.upTo(4) < 3 ? fitting : callers;
  return among[Math.floor(chance.upTo(among.length))] ?? "nobody";
}

/** Every verb by every mutator in an order of chance, as often as it takes; of a sample each half of the cells falls to other callers. */
async function fire(callers: readonly Caller[], count: number, half: 0 | 1): Promise<void> {
  let fired = 0;
  const all = names.flatMap((verb, row) => Object.keys(mutators).map((mutator, column) => ({ cell: [verb, mutator] as const, of: (row + column) % 2 })));
  const cells = all.filter(({ of }) => whole || of === half).map(({ cell }) => cell);
  const magazine: (readonly [VerbName, string])[] = [];
  const next = (): Shot[] => {
    const shots: Shot[] = [];
    while (shots.length < shotsAVolley && (fired < count || magazine.length > 0)) {
      if (magazine.length === 0) magazine.push(...cells.toSorted(() => chance.upTo(2) - 1));
      const [verb, mutator] = magazine.pop() ?? ["hello", "untouched"];
      const caller = callerOf(verb, callers);
      shots.push(...shotsOf(verb, mutator, caller));
    }
    fired += shots.length;
    return shots;
  };
  const refresh = callers.some((caller) => caller !== "nobody" && caller !== "wrong");
  while (fired < count || magazine.length > 0) {
    // What was spent is given anew, while nobody shoots.
    if (refresh) await stage.refresh();
    inputs.clear();
    await Promise.all(
      Array.from({ length: gunners }, async (_, n) => {
        const entrance = entrances[n % entrances.length];
        if (entrance === undefined) throw new Error("no entrance");
        let gunner = await Gunner.open(entrance, jury);
        for (let volley = 0; volley < volleysASocket; volley++) {
          if (gunner.isOver) gunner = await Gunner.open(entrance, jury);
          await gunner.fire(next());
        }
        await gunner.close();
      }),
    );
  }
}

const told = (error: unknown): never => {
  throw new Error(`SESSIOND_SEED=${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
};

test(`B1 B6 B7 no frame without the right credential does anything but be refused (${refused} of them)`, { timeout: amount(120_000, 900_000) }, async () => {
  const held = await stage.counts();
  const { connections } = await stage.host.status();
  await fire(["nobody", "wrong"], refused, 0).catch(told);
  await eventually("the attackers have gone", async () => (await stage.host.status()).connections <= connections);
  expect(await stage.counts()).toEqual(held);
  // Whoever is refused leaves nothing behind: not one object for twenty messages, the bystanders' own work included.
  const after = await stage.figures();
  expect(after.objects - before.objects, "objects").toBeLessThan(3_000 + refused / 20);
  expect(after.heap - before.heap, "bytes of heap").toBeLessThan(16 * 1_048_576);
});

test(`B7 no frame with the right credential does more than the verb says (${messages - refused} of them)`, { timeout: amount(120_000, 900_000) }, async () => {
  await fire(["owner", "driver", "key"], messages - refused, 1).catch(told);
});

test(
  "B7 streams and calls beyond what a connection may have are refused one by one, and those that come and go leave nothing",
  { timeout: 120_000 },
  async () => {
    await stage.refresh();
    const seats = async (): Promise<number> => (await stage.host.status()).seats;
    const taken = await seats();
    for (const entrance of entrances) {
      const { fates, end } = await flood(entrance, stage);
      expect(fates.streams).toEqual({ ok: limits.subscriptions_per_connection_max, limit_reached: 8 });
      // How many are under way at once is the machine's matter.
      expect(Object.keys(fates.calls).filter((code) => code !== "ok" && code !== "rate_limited")).toEqual([]);
      expect(fates.storm).toBe(500);
      await end();
      await eventually("their seats are free", async () => (await seats()) <= taken);
    }
  },
);

test("B7 B24 B33 after the attack the daemon is the one it was, owes nothing, and others have noticed nothing", { timeout: 120_000 }, async () => {
  const seen = await bystanders.check();
  const status = await stage.host.status();
  expect([status.pid, status.boot_id, status.faults]).toEqual([stage.pid, stage.bootId, []]);
  expect(status.problems).toEqual([]);
  expect(stage.bugs).toEqual([]);
  const after = await stage.figures();
  const grown = {
    objects: after.objects - before.objects,
    heap: after.heap - before.heap,
    buffers: after.buffers - before.buffers,
    descriptors: after.descriptors - before.descriptors,
    timers: after.timers - before.timers,
  };
  // Windows, transcripts and keys of the sessions in which those with the right credential were at work: all of them bounded.
  expect(grown.objects, JSON.stringify(grown)).toBeLessThan(60_000);
  expect(grown.heap, JSON.stringify(grown)).toBeLessThan(64 * 1_048_576);
  expect(grown.buffers, JSON.stringify(grown)).toBeLessThan(1_048_576);
  // Those with the right credential have begun sessions, each of which holds its journal open until it goes to rest.
  expect(grown.descriptors - (status.sessions.live - liveBefore), JSON.stringify(grown)).toBeLessThan(16);
  expect(grown.timers, JSON.stringify(grown)).toBeLessThan(16);
  // Or the frames behind it were never looked at.
  expect(tallies.fates.counts.get("turned out") ?? 0).toBeLessThan(messages / 100);
  expect(tallies.cells.counts.size).toBe(names.length * Object.keys(mutators).length);
  console.log(
    `wire: seed ${seed}, ${tallies.mutators.total} messages (${names.length} verbs by ${Object.keys(mutators).length} mutators, each cell ${tallies.cells.min} times or more, each verb ${tallies.verbs.min}), by ${entrances.map(({ name }) => name).join(" and ")}, beside ${bystanders.turns} turns of which a viewer saw ${seen} events; the daemon grew by ${grown.objects} objects, ${Math.round(grown.heap / 1_024)} KiB, ${grown.descriptors} descriptors\n` +
      `wire: fates: ${tallies.fates.line}\n${whole ? `wire: mutators: ${tallies.mutators.line}\n` : ""}`,
  );
});

import type { VerbName } from "@sessiond/shared";
import { afterAll, beforeAll, expect, test } from "vitest";
import { amount, whole } from "../support/amount.ts";
import { seededChance } from "../support/chance.ts";
import { inputOf, names, rowOf } from "./calls.ts";
import { attackFrames, attackHttp, side, type Attempt } from "./door.ts";
import type { Entrance } from "./entrance.ts";
import { frameAttacks } from "./frame-attacks.ts";
import { httpAttacks } from "./http-attacks.ts";
import { Bystanders } from "./bystanders.ts";
import { Stage } from "./stage.ts";
import { Tally } from "./tally.ts";

/**
 * What an attacker can do below the level of messages: frames that no WebSocket library sends, requests that no browser
 * sends, one connection each, around a call of every verb. SESSIOND_SEED repeats a run.
 */
const seed = Number(process.env["SESSIOND_SEED"] ?? Date.now() % 1_000_000);
const chance = seededChance(seed);
const rounds = amount(1, 5);

const tallies = { frames: new Tally(), requests: new Tally(), fates: new Tally() };
let stage: Stage;
let bystanders: Bystanders;
let entrances: readonly Entrance[] = [];

beforeAll(async () => {
  stage = new Stage({ hello_wait_ms: amount(3_000, 5_000) });
  await stage.begin();
  entrances = await stage.entrances();
  bystanders = await Bystanders.sit(stage);
}, 60_000);
afterAll(async () => {
  stage.letGo();
  await stage.close();
});

let ids = 0;
/** A call of it that would be in order, but for a credential that is missing or wrong. */
function attemptOf(verb: VerbName): Attempt {
  const id = ++ids;
  const entrance = entrances[id % entrances.length];
  if (entrance === undefined) throw new Error("no entrance");
  const auth = stage.auths[id % 2 === 0 ? "nobody" : "wrong"];
  const call = JSON.stringify({ id, method: rowOf(verb).kind, params: { path: verb, input: { ...inputOf(verb, stage.facts), auth } } });
  return { entrance, verb, call, id, chance };
}

/** Every verb by every attack, so often, so many at once; in a sample each verb by every third, and each attack on every third. */
function attack<A>(
  attacks: Readonly<Record<string, A>>,
  tally: Tally,
  atOnce: number,
  attempt: (attack: A, attempt: Attempt) => Promise<string>,
): Promise<void> {
  const cells = Array.from({ length: rounds }, () =>
    names.flatMap((verb, row) => Object.entries(attacks).flatMap(([name, each], column) => (whole || (row + column) % 3 === 0 ? [{ verb, name, each }] : []))),
  ).flat();
  return side(cells, atOnce, async ({ verb, name, each }) => {
    tally.add(name);
    const fate = await attempt(each, attemptOf(verb)).catch((error: unknown) => {
      throw new Error(`SESSIOND_SEED=${seed}: ${name}, ${verb}: ${String(error)}`, { cause: error });
    });
    tallies.fates.add(fate);
  });
}

test(
  `B7 a frame out of order closes its socket with a code, and one that is only strange is answered (${Object.keys(frameAttacks).length} kinds)`,
  { timeout: 120_000 },
  () => attack(frameAttacks, tallies.frames, 16, attackFrames),
);

const httpAttacksThat = (wait: boolean) => Object.fromEntries(Object.entries(httpAttacks).filter(([, { waits = false }]) => waits === wait));

test(`B6 B7 a request that is none of ours is told so and closed (${Object.keys(httpAttacks).length} kinds)`, { timeout: 120_000 }, async () => {
  await attack(httpAttacksThat(false), tallies.requests, 60, attackHttp);
  await attack(httpAttacksThat(true), tallies.requests, 250, attackHttp);
});

test("B7 B24 B33 after that the daemon is the one it was, and others have noticed nothing", { timeout: 120_000 }, async () => {
  const seen = await bystanders.check();
  const status = await stage.host.status();
  expect([status.pid, status.boot_id, status.faults, status.problems]).toEqual([stage.pid, stage.bootId, [], []]);
  expect(stage.bugs).toEqual([]);
  console.log(
    `wire: seed ${seed}, ${tallies.frames.total} WebSockets and ${tallies.requests.total} requests (${names.length} verbs by ${Object.keys(frameAttacks).length} and ${Object.keys(httpAttacks).length} attacks, ${whole ? `each cell ${rounds} times` : "a third of the cells"}), by ${entrances.map(({ name }) => name).join(" and ")}, beside ${bystanders.turns} turns of which a viewer saw ${seen} events\n` +
      `wire: fates: ${tallies.fates.line}\n${whole ? `wire: frames: ${tallies.frames.line}\nwire: requests: ${tallies.requests.line}\n` : ""}`,
  );
});

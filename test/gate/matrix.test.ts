import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { schemas, verbs, type Auth, type Gate, type GateWord, type Row, type VerbName } from "@sessiond/shared";
import { amount, whole } from "../support/amount.ts";
import { callersOf, expected, type Caller } from "../support/gate-callers.ts";
import {
  at,
  countHandlers,
  filesOf,
  inProcess,
  inputFor,
  makeWorld,
  tcpDoor,
  unauthenticatedTold,
  type Link,
  type Reply,
  type World,
} from "../support/gate-world.ts";
import { keyCallersOf } from "../support/key-callers.ts";
import { RawSocket } from "../support/raw-socket.ts";

/**
 * Every verb × every kind of caller × every way to the daemon. No verb is named here: inputs are filled in
 * by field name, and what must happen follows from the row's gate, scope and secret alone. Handlers are counters that
 * throw, so that a call which gets through is seen and changes nothing.
 */
interface Way {
  readonly door: "unix" | "tcp";
  readonly link: Link;
  /** Of the callers every so many; another part of them for each verb. */
  readonly every: number;
}
type Schema = { safeParse(value: unknown): { success: boolean } };
type Ruled = Pick<Row, "gate" | "scope" | "newest_secret" | "input">;

/** A row's gate in all its readings: one, or one for each value of its field, and the strictest for every other value. */
function readingsOf({ gate, input }: Pick<Row, "gate" | "input">): { word: GateWord; over: Record<string, unknown>; fits: boolean }[] {
  if (typeof gate === "string") return [{ word: gate, over: {}, fits: true }];
  const { by, otherwise, words } = gate;
  // An unknown word may be one that the schema takes: then it is the gate alone that stands before it.
  const fits = (value: unknown): boolean => (input.shape[by] as Schema).safeParse(value).success;
  const named = Object.entries(words).map(([value, word]) => ({ word, over: { [by]: value }, fits: true }));
  const first = Object.keys(words)[0];
  const unnamed = schemas.optionKind.options.filter((kind) => !Object.hasOwn(words, kind));
  const odd = [undefined, null, 0, "", "admin", first?.toUpperCase(), [first], { [String(first)]: true }, "constructor", "toString", "__proto__"];
  return [...named, ...[...unnamed, ...odd].map((value) => ({ word: otherwise, over: { [by]: value }, fits: fits(value) }))];
}

const rows = Object.entries<Row>(verbs) as [VerbName, Row][];
/** As they stand, for a test that changes them under the daemon. */
const gates = new Map<VerbName, Gate>(rows.map(([name, row]) => [name, row.gate]));
const scopes = new Map<VerbName, Row["scope"]>(rows.map(([name, row]) => [name, row.scope]));

let world: World;
let callers: Caller[];
let counting: ReturnType<typeof countHandlers>;
let socket: RawSocket;
let tcpSocket: RawSocket;
const ways: Record<string, Way> = {};
let letGo: () => void;
let cells = 0;

beforeAll(async () => {
  world = await makeWorld({ listen: "127.0.0.1:0" });
  const ofKeys = await keyCallersOf(world);
  callers = [...callersOf(world), ...ofKeys.callers];
  letGo = ofKeys.close;
  socket = await RawSocket.open(world.daemon.socketPath);
  tcpSocket = await RawSocket.open(await tcpDoor(world.daemon));
  ways["in-process link"] = { door: "unix", link: inProcess(world.daemon), every: 1 };
  ways["unix socket"] = { door: "unix", link: over(socket), every: amount(6, 1) };
  ways["TCP"] = { door: "tcp", link: over(tcpSocket), every: amount(6, 1) };
  counting = countHandlers();
});
afterAll(async () => {
  counting.restore();
  socket.close();
  tcpSocket.close();
  letGo();
  await world.close();
  console.log(`B1: ${rows.length} verbs × ${callers.length} callers × ${Object.keys(ways).length} ways: ${cells} calls`);
});
beforeEach(() => void counting.calls.splice(0));

const isAboutHost = (gate: Gate): boolean => typeof gate === "string" && (gate === "host" || gate.startsWith("host_or_"));
/** Enough callers to find what is wrong. */
const few = (): Way => ({ ...(ways["in-process link"] as Way), every: amount(5, 1) });

const over =
  (wire: RawSocket): Link =>
  async (verb, raw): Promise<Reply> => {
    const row = verbs[verb as VerbName];
    const { error } = await wire.call(row.kind, verb, JSON.stringify(raw));
    return error === undefined ? { code: "ok", told: "" } : { code: error.data.code, told: JSON.stringify({ message: error.message, data: error.data }) };
  };

/** What is in memory, and how often the disk was written to: cheap enough to be compared after each call. */
const everything = (): string => {
  const { host, counters } = world.daemon;
  return JSON.stringify([host.list(), host.awake.map((session) => session.log.decided), host.draining, counters.journalWrites, counters.filesReplaced]);
};

/** With what a verb may be called: also with the session, where naming one is optional. */
function inputsFor(name: VerbName, row: Ruled, caller: Caller): Record<string, unknown>[] {
  const plain = inputFor(name, world.facts);
  const inputs = "session_id" in row.input.shape && !("session_id" in plain) ? [plain, { ...plain, session_id: world.sessionId }] : [plain];
  return inputs.flatMap((input) => {
    const overridden = Object.fromEntries(Object.entries(caller.input ?? {}).filter(([field]) => field in input));
    // A caller who differs by what he names is nothing new where that is not named.
    return caller.input !== undefined && Object.keys(overridden).length === 0 ? [] : [{ ...input, ...overridden }];
  });
}

/** @returns what is wrong with a verb, in words; the calls of all callers are made, or of a part of them */
async function faultsOf(name: VerbName, row: Ruled, { link, door, every }: Way): Promise<string[]> {
  const faults: string[] = [];
  const files = JSON.stringify(filesOf(at(world.daemon)));
  let before = everything();
  const first = rows.findIndex(([each]) => each === name);
  for (const caller of callers.filter((_, number) => (number + first) % every === 0)) {
    for (const [{ word, over, fits: chosenFits }, input] of readingsOf(row).flatMap((each) =>
      inputsFor(name, row, caller).map((given) => [each, given] as const),
    )) {
      const namesSession = "session_id" in input;
      const due = expected({ word, scope: row.scope, newest_secret: row.newest_secret, door, namesSession }, caller);
      // Who names nonsense, and may, is told so.
      const fits =
        chosenFits &&
        (caller.input === undefined || Object.entries(input).every(([field, value]) => (row.input.shape[field] as Schema).safeParse(value).success));
      const passes = fits ? "unsupported" : "bad_request";
      counting.calls.splice(0);
      cells += 1;
      const { code, told } = await link(name, { ...input, ...over, ...(caller.auth !== undefined && { auth: caller.auth }) });
      const cell = `${name} ${JSON.stringify({ ...over, ...(namesSession && { session_id: input["session_id"] }) })} (${word}, ${row.scope}) by ${caller.name}`;
      if (due !== "pass" && code !== due) faults.push(`${cell}: ${code} instead of ${due}`);
      if (due === "pass" && code !== passes) faults.push(`${cell}: ${code} (${told}) though it may`);
      if (
        due === "role_too_small" &&
        typeof caller.key === "object" &&
        row.scope !== null &&
        !caller.key.scopes.includes(row.scope) &&
        isAboutHost(word) &&
        !told.includes(`the scope ${row.scope}`)
      )
        faults.push(`${cell}: it is not told which scope it needs: ${told}`);
      if (code === "unauthenticated" && told !== unauthenticatedTold()) faults.push(`${cell}: unauthenticated in other words: ${told}`);
      if (counting.calls.length > 0 && (due !== "pass" || !fits)) faults.push(`${cell}: the handler ran`);
      if (due === "pass" && passes === "unsupported" && counting.calls.join() !== name) faults.push(`${cell}: the handler did not run once`);
      const after = everything();
      if (after !== before) faults.push(`${cell}: something has changed`);
      before = after;
    }
  }
  if (JSON.stringify(filesOf(at(world.daemon))) !== files) faults.push(`${name}: a file has changed`);
  return faults;
}

describe.each(["in-process link", "unix socket", "TCP"])("over the %s", (way) => {
  test.each(rows)("B1 B3 B5 %s lets in whom its gate names, and nobody else, who all hear the same", async (name, row) => {
    expect(await faultsOf(name, row, ways[way] as Way)).toEqual([]);
  });
});

test("B1 the matrix is able to fail: with any one gate open it finds fault with that row", async () => {
  const sound: string[] = [];
  for (const [name, row] of rows) {
    const gate = gates.get(name) ?? "open";
    if (gate === "open") continue;
    Object.assign(row, { gate: "open" });
    try {
      if (!(await faultsOf(name, { ...row, gate }, few())).some((fault) => fault.includes("the handler ran"))) sound.push(name);
    } finally {
      Object.assign(row, { gate });
    }
  }
  expect(sound).toEqual([]);
  expect(rows.map(([, row]) => row.gate)).toEqual([...gates.values()]);
});

test("B1 nor does it overlook a scope: one dropped, one taken for another, or a row that a key may not call given one, each is found", async () => {
  const sound: string[] = [];
  for (const [at, [name, row]] of rows.entries()) {
    const { scope } = row;
    const others = [null, ...schemas.scope.options].filter((each) => each !== scope);
    for (const other of isAboutHost(row.gate) ? (whole ? others : others.slice(at % 2, (at % 2) + 1)) : []) {
      Object.assign(row, { scope: other });
      try {
        const faults = await faultsOf(name, { ...row, scope }, { ...(ways["in-process link"] as Way), every: 1 });
        const found = faults.some((fault) => fault.includes(scope === null ? "the handler ran" : "though it may"));
        if (!found) sound.push(`${name} with ${other}`);
      } finally {
        Object.assign(row, { scope });
      }
    }
  }
  expect(sound).toEqual([]);
  expect(rows.map(([, row]) => row.scope)).toEqual([...scopes.values()]);
});

test("B1 B4 nor a row that must refuse a secret which was rotated out, and takes it while its overlap lasts", async () => {
  const sound: string[] = [];
  const guarded = rows.filter(([, row]) => row.newest_secret === true);
  for (const [name, row] of guarded) {
    Object.assign(row, { newest_secret: undefined });
    try {
      const faults = await faultsOf(name, { ...row, newest_secret: true }, { ...(ways["in-process link"] as Way), every: 1 });
      if (!faults.some((fault) => fault.includes("by a secret within its overlap: the handler ran"))) sound.push(name);
    } finally {
      Object.assign(row, { newest_secret: true });
    }
  }
  expect(guarded.length).toBeGreaterThan(0);
  expect(sound).toEqual([]);
});

test("B1 what is inherited counts for nothing: neither credentials nor the session nor the field that chooses the word", async () => {
  const { driver, owner } = world.auths as { driver: Auth; owner: Auth };
  const faults: string[] = [];
  for (const [name, row] of rows) {
    if (row.gate === "open") continue;
    const input = inputFor(name, world.facts);
    const shapes: [string, unknown][] = [
      ["inherited auth", Object.assign(Object.create({ auth: { ...driver, ...owner } }) as object, input)],
      ["auth with inherited fields", { ...input, auth: Object.create({ ...driver, ...owner }) as object }],
      ["auth in an own __proto__", Object.defineProperty({ ...input }, "__proto__", { value: { auth: { ...driver, ...owner } }, enumerable: true }) as object],
      ["everything inherited", Object.create({ ...input, auth: { ...driver, ...owner } }) as object],
    ];
    if ("session_id" in input) {
      const { session_id, ...rest } = input;
      shapes.push(["an inherited session", Object.assign(Object.create({ session_id }) as object, rest, { auth: driver })]);
    }
    counting.calls.splice(0);
    for (const [what, raw] of shapes) {
      const { code } = await (ways["in-process link"] as Way).link(name, raw);
      if (code !== "unauthenticated" || counting.calls.length > 0) faults.push(`${name} with ${what}: ${code}`);
    }
    if (typeof row.gate !== "object") continue;
    // An inherited choice is no choice: the strictest word, which a view token does not meet.
    const { [row.gate.by]: chosen, ...rest } = input;
    const raw = Object.assign(Object.create({ [row.gate.by]: chosen }) as object, rest, { auth: world.auths.view });
    const { code } = await (ways["in-process link"] as Way).link(name, raw);
    if (code !== "role_too_small") faults.push(`${name} with an inherited choice: ${code}`);
  }
  expect(faults).toEqual([]);
});

test("B1 on a host row every session token counts as foreign, also where the call names the token's session", async () => {
  const faults: string[] = [];
  const holders = callers.filter(({ right, host, key }) => right !== undefined && host === undefined && key === undefined);
  for (const [name, row] of rows) {
    if (row.gate !== "host") continue;
    for (const { auth, name: who } of holders) {
      for (const [way, { link }] of Object.entries(ways)) {
        const { code, told } = await link(name, { ...inputFor(name, world.facts), session_id: world.sessionId, auth });
        if (told !== unauthenticatedTold()) faults.push(`${way}: ${name} by ${who}: ${code}`);
      }
    }
  }
  expect(holders.length).toBeGreaterThan(8);
  expect(faults).toEqual([]);
  expect(counting.calls).toEqual([]);
});

test("B1 what is no object at all is nobody's call", async () => {
  const faults: string[] = [];
  for (const [name, row] of rows) {
    if (row.gate === "open") continue;
    for (const [way, { link }] of Object.entries(ways)) {
      for (const raw of [null, 7, "text", [], [world.auths.driver], true]) {
        const { code, told } = await link(name, raw);
        if (told !== unauthenticatedTold()) faults.push(`${way}: ${name} ${JSON.stringify(raw)}: ${code}`);
      }
    }
  }
  expect(faults).toEqual([]);
  expect(counting.calls).toEqual([]);
});

test("B1 B40 a draining daemon refuses what the table does not let pass, before it looks at who is calling", async () => {
  const faults: string[] = [];
  world.daemon.host.draining = true;
  try {
    for (const [name, row] of rows) {
      for (const { over, fits } of readingsOf(row)) {
        const chosen = typeof row.draining === "object" ? over[row.draining.by] : undefined;
        const passes =
          row.kind === "query" ||
          row.draining === true ||
          (typeof row.draining === "object" && typeof chosen === "string" && row.draining.passes.includes(chosen));
        const reach = async (auth: Auth | undefined) =>
          (await (ways["in-process link"] as Way).link(name, { ...inputFor(name, world.facts), ...over, ...(auth && { auth }) })).code;
        const byNobody = await reach(undefined);
        const byAll = await reach({ ...world.auths.driver, ...(String(row.gate).startsWith("host") && world.auths.owner) });
        if (!passes && (byNobody !== "shutting_down" || byAll !== "shutting_down")) faults.push(`${name} ${JSON.stringify(over)}: ${byNobody}, ${byAll}`);
        if (passes && (byNobody === "shutting_down" || (fits && byAll !== "unsupported")))
          faults.push(`${name} ${JSON.stringify(over)}: ${byNobody}, ${byAll}`);
      }
    }
  } finally {
    world.daemon.host.draining = false;
  }
  expect(faults).toEqual([]);
});

test("B1 B4 a token of a past life gets what its right would get, where that reads or the row repeats its answer; else session_stopped", async () => {
  counting.restore();
  const past = await makeWorld();
  await past.daemon.call("stop", { session_id: past.sessionId }, past.auths.owner);
  counting = countHandlers();
  const { driver, control, view, foreignDriver } = past.auths;
  const pastCallers: Caller[] = [
    { name: "the driver of then", auth: driver, right: "control", seat: "driver", lineage: true },
    { name: "control", auth: control, right: "control" },
    { name: "view", auth: view, right: "view", lineage: true },
    { name: "foreign", auth: foreignDriver },
  ];
  const faults: string[] = [];
  for (const [name, row] of rows) {
    for (const { word, over, fits } of readingsOf(row)) {
      for (const caller of pastCallers) {
        // All seats went with the life, so what a seat would have passed is asked of the life first.
        const due = expected(
          { word, scope: row.scope, door: "unix", namesSession: true },
          { ...caller, ...(caller.right !== undefined && { seat: "driver" }) },
        );
        const reads = word === "open" || word === "view" || word === "host_or_view" || row.past_life === "answer";
        const wanted = due !== "pass" ? due : !reads ? "session_stopped" : fits ? "unsupported" : "bad_request";
        const { code } = await inProcess(past.daemon)(name, { ...inputFor(name, past.facts), ...over, auth: caller.auth });
        if (code !== wanted) faults.push(`${name} ${JSON.stringify(over)} (${word}) by ${caller.name}: ${code} instead of ${wanted}`);
      }
    }
  }
  await past.close();
  expect(faults).toEqual([]);
});

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { checksum, schemas, verbs, type Auth, type Gate, type GateWord, type Row, type VerbName } from "@sessiond/shared";
import {
  at,
  countHandlers,
  filesOf,
  inProcess,
  inputFor,
  makeWorld,
  seatSecretOf,
  unauthenticatedTold,
  type Link,
  type Reply,
  type World,
} from "../support/gate-world.ts";
import { RawSocket } from "../support/raw-socket.ts";

/**
 * Every verb × every kind of caller. No verb is named here: inputs are filled in by field name,
 * and what must happen follows from the gate's word alone. Handlers are counters that throw, so
 * that a call which gets through is seen and changes nothing.
 */
interface Caller {
  readonly name: string;
  readonly auth: unknown;
  /** Of a live token of this very session. */
  readonly right?: "view" | "control";
  readonly seat?: "viewer" | "driver";
  readonly host?: "good" | "bad";
  /** The named token itself, or an ancestor of it. */
  readonly lineage?: boolean;
  /** False: a token minted it. */
  readonly hostMinted?: boolean;
  /** Put over the verb's input. */
  readonly input?: Readonly<Record<string, unknown>>;
}

/** What a word asks of a caller; `pass` when it is there. */
function expected(word: GateWord, { right, seat, host, lineage, hostMinted }: Caller): string {
  const token = (needs: "view" | "control"): string =>
    right === undefined ? "unauthenticated" : needs === "control" && right === "view" ? "role_too_small" : "pass";
  const seated = (needs: "view" | "control"): string => (token(needs) !== "pass" ? token(needs) : seat === undefined ? "not_attached" : "pass");
  const or = (other: () => string): string => (host === undefined ? other() : host === "good" ? "pass" : "unauthenticated");
  switch (word) {
    case "open":
      return "pass";
    case "host":
      return host === "good" ? "pass" : "unauthenticated";
    case "view":
    case "control":
      return token(word);
    case "host_or_view":
      return or(() => token("view"));
    case "host_or_control":
      return or(() => token("control"));
    case "host_or_lineage":
      return or(() => (right === undefined ? "unauthenticated" : lineage === true ? "pass" : "role_too_small"));
    case "seat":
      return seated("view");
    case "control_seat":
      return seated("control");
    case "driver":
      return seated("control") === "pass" && seat !== "driver" ? "not_driver" : seated("control");
    case "host_minted_driver": {
      const drives = seated("control") === "pass" && seat !== "driver" ? "not_driver" : seated("control");
      return drives === "pass" && hostMinted === false ? "role_too_small" : drives;
    }
  }
}

/** Damage a secret, and make its checksum right again where that is the point. */
const reseal = (token: string, change: (body: string) => string): string => {
  const body = change(token.slice(0, -6));
  return body + checksum(body);
};
const flip = (text: string): string => text.slice(0, -1) + (text.endsWith("a") ? "b" : "a");

function callersOf({ auths, daemon, foreignSessionId, hostMintedSessionId, tokenMintedSessionId, driverSeatId }: World): Caller[] {
  const { owner, driver, control, controlViewer, view, viewViewer, foreign, foreignDriver, expired, expiredChild, revoked, revokedChild } = auths;
  const token = driver.token ?? "";
  const secret = driver.seat_secret ?? "";
  const unknownSession = `ses_${"u".repeat(22)}`;
  const malformed: [string, unknown][] = [
    ["an empty token", ""],
    ["a token with a wrong checksum", flip(token)],
    ["a token cut short", token.slice(0, -1)],
    ["a token with a tail", `${token}a`],
    ["a token with a line end", `${token}\n`],
    ["a token with its right swapped", token.replace("ssd_c_", "ssd_v_")],
    ["a token with its right swapped and sealed anew", reseal(token, (body) => body.replace("ssd_c_", "ssd_v_"))],
    ["a view token made control and sealed anew", reseal(view.token ?? "", (body) => body.replace("ssd_v_", "ssd_c_"))],
    ["a token with another secret, well sealed", reseal(token, flip)],
    ["a foreign token renamed to this session, well sealed", reseal(foreign.token ?? "", (body) => body.replace(foreignSessionId, token.slice(6, 32)))],
    ["a huge token", "s".repeat(100_000)],
    ["a token that is a number", 7],
    ["a token that is null", null],
    ["a token in a list", [token]],
    ["a token in an object", { toString: token }],
    ["the host key as token", daemon.hostKey],
  ];
  const badKeys: [string, unknown][] = [
    ["an empty host key", ""],
    ["a host key with a wrong checksum", flip(daemon.hostKey)],
    ["another host key, well sealed", reseal(daemon.hostKey, flip)],
    ["a host key in a list", [daemon.hostKey]],
    ["a huge host key", "s".repeat(100_000)],
    ["the driver's token as host key", token],
    ["a host key that is null", null],
  ];
  const all = { right: "control", seat: "driver", lineage: true } as const;
  return [
    { name: "nobody", auth: undefined },
    ...[null, 7, "text", [], [token], {}, { auth: driver }].map((auth) => ({ name: `auth ${JSON.stringify(auth).slice(0, 20)}`, auth })),
    { name: "host key only", auth: owner, host: "good" },
    ...badKeys.map(([name, host_key]) => ({ name, auth: { host_key }, host: "bad" }) as const),
    ...badKeys.map(([name, host_key]) => ({ name: `the driver with ${name}`, auth: { ...driver, host_key }, ...all, host: "bad" }) as const),
    { name: "the driver with the host key too", auth: { ...driver, ...owner }, ...all, host: "good" },
    { name: "another session's token", auth: foreign },
    { name: "another session's driver", auth: foreignDriver },
    { name: "another session's token with this driver's secret", auth: { ...foreign, seat_secret: secret } },
    { name: "view token", auth: view, right: "view", lineage: true },
    { name: "view token with the driver's seat id", auth: { ...view, seat_id: driverSeatId, seat_secret: driverSeatId }, right: "view", lineage: true },
    { name: "view token with the driver's secret", auth: { ...view, seat_secret: secret }, right: "view", lineage: true },
    { name: "viewer seat with a view token", auth: viewViewer, right: "view", seat: "viewer", lineage: true },
    { name: "another control token with the driver's secret", auth: { ...control, seat_secret: secret }, right: "control" },
    { name: "another control token with the driver's seat id", auth: { ...control, seat_secret: driverSeatId, seat_id: driverSeatId }, right: "control" },
    { name: "viewer seat with a control token", auth: controlViewer, right: "control", seat: "viewer" },
    { name: "control token without a seat", auth: control, right: "control" },
    { name: "control token with an unknown secret", auth: { ...control, seat_secret: seatSecretOf("X") }, right: "control" },
    { name: "control token with a secret that is no text", auth: { ...control, seat_secret: [seatSecretOf("C")] }, right: "control" },
    { name: "the driver's token without its secret", auth: { token }, right: "control", lineage: true },
    { name: "expired", auth: { ...expired, seat_secret: secret } },
    { name: "child of an expired one", auth: expiredChild },
    { name: "revoked", auth: { ...revoked, seat_secret: secret } },
    { name: "child of a revoked one", auth: revokedChild },
    ...malformed.map(([name, value]) => ({ name, auth: { token: value, seat_secret: secret } })),
    { name: "the driver", auth: driver, ...all },
    {
      name: "a driver whose token the host key minted",
      auth: auths.hostMintedDriver,
      right: "control",
      seat: "driver",
      input: { session_id: hostMintedSessionId },
    },
    {
      name: "a driver whose token a token minted",
      auth: auths.tokenMintedDriver,
      right: "control",
      seat: "driver",
      hostMinted: false,
      input: { session_id: tokenMintedSessionId },
    },
    { name: "the driver, naming another session", auth: driver, input: { session_id: foreignSessionId } },
    { name: "the driver, naming an unknown session", auth: driver, input: { session_id: unknownSession } },
    {
      name: "a well sealed token of an unknown session",
      auth: { token: reseal(token, (body) => body.replace(token.slice(6, 32), unknownSession)) },
      input: { session_id: unknownSession },
    },
    { name: "the driver, naming no session", auth: driver, input: { session_id: undefined } },
    { name: "the driver, naming a session in a list", auth: driver, input: { session_id: [token.slice(6, 32)] } },
  ];
}

/** A row's gate in all its readings: one, or one for each value of its field, and the strictest for every other value. */
function readingsOf({ gate, input }: Pick<Row, "gate" | "input">): { word: GateWord; over: Record<string, unknown>; fits: boolean }[] {
  if (typeof gate === "string") return [{ word: gate, over: {}, fits: true }];
  const { by, otherwise, words } = gate;
  // An unknown word may be one that the schema takes: then it is the gate alone that stands before it.
  const fits = (value: unknown): boolean => (input.shape[by] as { safeParse(value: unknown): { success: boolean } }).safeParse(value).success;
  const named = Object.entries(words).map(([value, word]) => ({ word, over: { [by]: value }, fits: true }));
  const first = Object.keys(words)[0];
  const unnamed = schemas.optionKind.options.filter((kind) => !Object.hasOwn(words, kind));
  const odd = [undefined, null, 0, "", "admin", first?.toUpperCase(), [first], { [String(first)]: true }, "constructor", "toString", "__proto__"];
  return [...named, ...[...unnamed, ...odd].map((value) => ({ word: otherwise, over: { [by]: value }, fits: fits(value) }))];
}

const rows = Object.entries<Row>(verbs) as [VerbName, Row][];
/** As they stand, for a test that changes them under the daemon. */
const gates = new Map<VerbName, Gate>(rows.map(([name, row]) => [name, row.gate]));

let world: World;
let callers: Caller[];
let counting: ReturnType<typeof countHandlers>;
let socket: RawSocket;
const links: Record<string, Link> = {};

beforeAll(async () => {
  world = await makeWorld();
  callers = callersOf(world);
  socket = await RawSocket.open(world.daemon.socketPath);
  links["in-process link"] = inProcess(world.daemon);
  links["unix socket"] = async (verb, raw): Promise<Reply> => {
    const row = verbs[verb as VerbName];
    const { error } = await socket.call(row.kind, verb, JSON.stringify(raw));
    return error === undefined ? { code: "ok", told: "" } : { code: error.data.code, told: JSON.stringify({ message: error.message, data: error.data }) };
  };
  counting = countHandlers();
});
afterAll(async () => {
  counting.restore();
  socket.close();
  await world.close();
});
beforeEach(() => void counting.calls.splice(0));

/** What is in memory, and how often the disk was written to: cheap enough to be compared after each call. */
const everything = (): string => {
  const { host, counters } = world.daemon;
  return JSON.stringify([host.list(), host.awake.map((session) => session.log.decided), host.draining, counters.journalWrites, counters.filesReplaced]);
};

/** @returns what is wrong with a verb, in words; the calls of all callers are made */
async function faultsOf(name: VerbName, row: Pick<Row, "gate" | "input">, link: Link): Promise<string[]> {
  const faults: string[] = [];
  const files = JSON.stringify(filesOf(at(world.daemon)));
  let before = everything();
  for (const caller of callers) {
    for (const { word, over, fits } of readingsOf(row)) {
      const input = { ...inputFor(name, world.facts), ...over };
      const overridden = Object.fromEntries(Object.entries(caller.input ?? {}).filter(([field]) => field in input));
      // A caller who differs by what he names is nothing new where that is not named.
      if (caller.input !== undefined && Object.keys(overridden).length === 0) continue;
      const due = expected(word, caller);
      const passes = fits ? "unsupported" : "bad_request";
      counting.calls.splice(0);
      const { code, told } = await link(name, { ...input, ...overridden, ...(caller.auth !== undefined && { auth: caller.auth }) });
      const cell = `${name} ${JSON.stringify(over)} (${word}) by ${caller.name}`;
      if (due !== "pass" && code !== due) faults.push(`${cell}: ${code} instead of ${due}`);
      if (due === "pass" && code !== passes) faults.push(`${cell}: ${code} (${told}) though it may`);
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

describe.each(["in-process link", "unix socket"])("over the %s", (way) => {
  test.each(rows)("B1 B3 B5 %s lets in whom its gate names, and nobody else, who all hear the same", async (name, row) => {
    expect(await faultsOf(name, row, links[way] as Link)).toEqual([]);
  });
});

test("B1 the matrix is able to fail: with any one gate open it finds fault with that row", async () => {
  const sound: string[] = [];
  for (const [name, row] of rows) {
    const gate = gates.get(name) ?? "open";
    if (gate === "open") continue;
    Object.assign(row, { gate: "open" });
    try {
      if (!(await faultsOf(name, { gate, input: row.input }, links["in-process link"] as Link)).some((fault) => fault.includes("the handler ran")))
        sound.push(name);
    } finally {
      Object.assign(row, { gate });
    }
  }
  expect(sound).toEqual([]);
  expect(rows.map(([, row]) => row.gate)).toEqual([...gates.values()]);
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
      [
        "auth in an own __proto__",
        JSON.parse(JSON.stringify(input).replace("{", `{"__proto__":${JSON.stringify({ auth: driver })}${Object.keys(input).length > 0 ? "," : ""}`)),
      ],
      ["everything inherited", Object.create({ ...input, auth: { ...driver, ...owner } }) as object],
    ];
    if ("session_id" in input) {
      const { session_id, ...rest } = input;
      shapes.push(["an inherited session", Object.assign(Object.create({ session_id }) as object, rest, { auth: driver })]);
    }
    counting.calls.splice(0);
    for (const [what, raw] of shapes) {
      const { code } = await (links["in-process link"] as Link)(name, raw);
      if (code !== "unauthenticated" || counting.calls.length > 0) faults.push(`${name} with ${what}: ${code}`);
    }
    if (typeof row.gate !== "object") continue;
    // An inherited choice is no choice: the strictest word, which a view token does not meet.
    const { [row.gate.by]: chosen, ...rest } = input;
    const raw = Object.assign(Object.create({ [row.gate.by]: chosen }) as object, rest, { auth: world.auths.view });
    const { code } = await (links["in-process link"] as Link)(name, raw);
    if (code !== "role_too_small") faults.push(`${name} with an inherited choice: ${code}`);
  }
  expect(faults).toEqual([]);
});

test("B1 on a host row every session token counts as foreign, also where the call names the token's session", async () => {
  const faults: string[] = [];
  const holders = callers.filter(({ right, host }) => right !== undefined && host === undefined);
  for (const [name, row] of rows) {
    if (row.gate !== "host") continue;
    for (const { auth, name: who } of holders) {
      for (const [way, link] of Object.entries(links)) {
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
    for (const [way, link] of Object.entries(links)) {
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
          (await (links["in-process link"] as Link)(name, { ...inputFor(name, world.facts), ...over, ...(auth && { auth }) })).code;
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
        const due = expected(word, { ...caller, ...(caller.right !== undefined && { seat: "driver" }) });
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

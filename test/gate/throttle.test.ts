import { formatApiKey, formatHostKey, formatToken, limits as defaults, SessiondError, verbs, type LimitName, type Limits, type Row } from "@sessiond/shared";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Allowance } from "../../packages/daemon/src/allowance.ts";
import type { Peer } from "../../packages/daemon/src/gate.ts";
import { Throttle } from "../../packages/daemon/src/throttle.ts";
import { FakeClock } from "../support/fake-clock.ts";

/** How often: the counting itself, by a clock that a test moves. Over real sockets: throttle-over-sockets.test.ts. */
const perPeer = "failed_credentials_per_peer_per_minute_max";
const perId = "failed_credentials_per_id_per_minute_max";
const refusal = new SessiondError("unauthenticated");
const row: Row = verbs.session_info;

const tokenFor = (letter: string, secret = "s"): unknown => ({ auth: { token: formatToken("view", `ses_${letter.repeat(22)}`, secret.repeat(32)) } });
const keyFor = (letter: string): unknown => ({ auth: { api_key: formatApiKey(`key_${letter.repeat(22)}`, "s".repeat(32)) } });
const wrongHostKey: unknown = { auth: { host_key: formatHostKey("w".repeat(43)) } };

class World {
  readonly clock = new FakeClock();
  readonly throttle: Throttle;
  readonly turnedOut: Peer[] = [];

  constructor(limits: Partial<Limits> = {}) {
    this.throttle = new Throttle(this.clock, { ...defaults, ...limits });
  }

  unix(name: string): Peer {
    return { door: "unix", name };
  }

  tcp(name: string): Peer {
    return { door: "tcp", name };
  }

  #caller(peer: Peer) {
    return { peer, turnOut: () => void this.turnedOut.push(peer) };
  }

  #told(step: () => void): SessiondError | "ok" {
    try {
      step();
      return "ok";
    } catch (error) {
      return error as SessiondError;
    }
  }

  /** A call with a wrong credential. */
  wrong(peer: Peer, raw: unknown = wrongHostKey): SessiondError {
    const told = this.#told(() => this.throttle.mustMayTry(row, this.#caller(peer)));
    return told === "ok" ? this.throttle.failed(raw, this.#caller(peer), refusal) : told;
  }

  /** A call with a right one. @param holder  absent: the owner */
  right(peer: Peer, holder?: string, of: Row = row): SessiondError | "ok" {
    return this.#told(() => {
      this.throttle.mustMayTry(of, this.#caller(peer));
      this.throttle.recognised(of, this.#caller(peer), holder);
    });
  }

  knock(peer: Peer): SessiondError | "ok" {
    return this.throttle.knock(peer) ?? "ok";
  }

  /** What two that were looked at together are told, a wrong one first. */
  together(peer: Peer, wrong: number, holder?: string): { wrong: SessiondError[]; right: SessiondError | "ok" } {
    for (let each = 0; each <= wrong; each++) this.throttle.mustMayTry(row, this.#caller(peer));
    const told = Array.from({ length: wrong }, () => this.throttle.failed(wrongHostKey, this.#caller(peer), refusal));
    return { wrong: told, right: this.#told(() => this.throttle.recognised(row, this.#caller(peer), holder)) };
  }
}

const times = (count: number, step: () => SessiondError | "ok"): string[] =>
  Array.from({ length: count }, step).map((told) => (told === "ok" ? told : told.code));

/** It names the limit; at the time it tells the same passes, and one millisecond earlier it does not. */
function truthful(world: World, limit: LimitName, again: () => SessiondError | "ok", passes: string = "ok"): void {
  const told = again();
  expect(told).toMatchObject({
    code: "rate_limited",
    retry: "backoff",
    detail: { limit, value: expect.any(Number) as number, unit: expect.any(String) as string },
  });
  const ms = (told as SessiondError).detail["retry_after_ms"] as number;
  expect(ms).toBeGreaterThan(0);
  expect((told as SessiondError).message).toContain(`(limit ${limit}); try again in ${ms} ms`);
  world.clock.advance(ms - 1);
  expect(again()).toMatchObject({ code: "rate_limited", detail: { retry_after_ms: 1 } });
  world.clock.advance(1);
  const later = again();
  expect(later === "ok" ? later : later.code).toBe(passes);
}

describe("what comes back by itself", () => {
  test("B7 nobody gets more than so many at once, and afterwards as many a window, evenly; the wait that is told is the wait there is", () => {
    /** The model: each use as a time, given back one after the other. */
    class Model {
      readonly #backAt: number[] = [];
      readonly #each: number;
      readonly max: number;
      constructor(max: number, windowMs: number) {
        this.max = max;
        this.#each = windowMs / max;
      }
      wait(now: number): number {
        const out = this.#backAt.filter((at) => at > now + 1e-6);
        return out.length < this.max ? 0 : Math.ceil((out[out.length - this.max] ?? now) - now - 1e-6);
      }
      use(now: number): void {
        if (this.wait(now) > 0) return;
        this.#backAt.push(Math.max(now, this.#backAt.at(-1) ?? now) + this.#each);
      }
    }
    const step = fc.record({
      who: fc.constantFrom("a", "b", "c"),
      ms: fc.oneof(fc.nat(3), fc.nat(400), fc.constant(1_000)),
      uses: fc.integer({ min: 1, max: 4 }),
    });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 7 }), fc.constantFrom(60, 1_000, 997), fc.array(step, { maxLength: 60 }), (max, windowMs, steps) => {
        const clock = new FakeClock(0);
        const allowance = new Allowance<string>({ clock, max, windowMs, keptMax: 100 });
        const models = new Map(["a", "b", "c"].map((who) => [who, new Model(max, windowMs)]));
        for (const { who, ms, uses } of steps) {
          clock.advance(ms);
          const model = models.get(who) as Model;
          for (let each = 0; each < uses; each++) {
            expect(allowance.wait(who)).toBe(model.wait(clock.now()));
            if (allowance.wait(who) > 0) continue;
            allowance.use(who);
            model.use(clock.now());
          }
        }
        clock.advance(windowMs);
        allowance.use("another");
        expect(allowance.size).toBe(1);
      }),
    );
  });

  test("B7 a use beyond what there is makes no wait longer", () => {
    const clock = new FakeClock();
    const allowance = new Allowance<string>({ clock, max: 10, windowMs: 1_000, keptMax: 10 });
    for (let each = 0; each < 1_000; each++) allowance.use("a");
    expect(allowance.wait("a")).toBe(100);
  });

  test("B7 with its memory full it forgets those who used least: who used all of it cannot have himself forgotten by thousands of others", () => {
    const clock = new FakeClock();
    const allowance = new Allowance<string>({ clock, max: 120, windowMs: 60_000, keptMax: 10_000 });
    for (let each = 0; each < 120; each++) allowance.use("the guesser");
    expect(allowance.wait("the guesser")).toBe(500);
    let most = 0;
    for (let each = 0; each < 50_000; each++) {
      allowance.use(`made up ${each}`);
      most = Math.max(most, allowance.size);
    }
    expect(allowance.wait("the guesser")).toBe(500);
    expect(most).toBeLessThanOrEqual(10_000);
    // And what nobody needs any more is let go of by itself.
    clock.advance(60_000);
    allowance.use("somebody");
    expect(allowance.size).toBe(1);
  });
});

describe("wrong credentials", () => {
  test("B7 of one connection on the unix socket: so many, then none is looked at; it is told when, and that is true to the millisecond", () => {
    const world = new World();
    const peer = world.unix("1");
    expect(new Set(times(120, () => world.wrong(peer)))).toEqual(new Set(["unauthenticated"]));
    truthful(world, perPeer, () => world.wrong(peer), "unauthenticated");
    expect(world.turnedOut).toEqual([]);
  });

  test("B7 from a peer that is not looked at the right one is refused word for word like a wrong one", () => {
    const world = new World();
    for (const peer of [world.unix("1"), world.tcp("10.0.0.1")]) {
      times(120, () => world.wrong(peer));
      const [wrong, right] = [world.wrong(peer), world.right(peer, "tok")];
      expect(right).toEqual(wrong);
      // Refused before anybody looks: it costs no reading of files, and is no use of the credential.
      expect(() => world.throttle.mustMayTry(row, { peer, turnOut: () => undefined })).toThrow("wrong credentials");
    }
  });

  test("B7 the owner on a connection of his own is never refused, whatever others do on the unix socket and over TCP in the same instant", () => {
    const world = new World({ throttled_max: 200 });
    const owner = world.unix("owner");
    for (let each = 0; each < 60; each++) {
      const other = world.unix(`other ${each}`);
      times(130, () => world.wrong(other));
      times(130, () => world.wrong(world.tcp(`10.0.${each}.1`), keyFor(String(each % 10))));
      expect(world.right(owner)).toBe("ok");
    }
    // Memory full of others, of many ids too.
    for (let each = 0; each < 1_000; each++) world.wrong(world.tcp(`10.1.${each}`), tokenFor("abcdefghij"[each % 10] as string));
    expect(times(20_000, () => world.right(owner)).every((told) => told === "ok")).toBe(true);
    expect(times(700, () => world.right(owner, undefined, verbs.start_session)).every((told) => told === "ok")).toBe(true);
  });

  test("B7 over TCP an address is one peer, however many connections it opens: they are turned out and no further one is let in; another address is", () => {
    const world = new World();
    const told = Array.from({ length: 200 }, () => world.wrong(world.tcp("10.0.0.1"))).map(({ code }) => code);
    expect(told.filter((code) => code === "unauthenticated")).toHaveLength(120);
    expect(world.turnedOut).toHaveLength(80);
    expect(world.right(world.tcp("10.0.0.2"), "tok")).toBe("ok");
    expect(world.knock(world.tcp("10.0.0.2"))).toBe("ok");
    truthful(world, perPeer, () => world.knock(world.tcp("10.0.0.1")));
  });

  test("B7 who has shown a right credential on his connection goes on while others at his address do not; he is counted by that connection, and at his address", () => {
    const world = new World();
    const known = world.tcp("10.0.0.1");
    expect(world.right(known, "tok")).toBe("ok");
    times(120, () => world.wrong(world.tcp("10.0.0.1")));
    expect(world.right(world.tcp("10.0.0.1"), "tok")).toMatchObject({ code: "rate_limited" });
    expect(times(1_000, () => world.right(known, "tok")).every((told) => told === "ok")).toBe(true);
    expect(times(130, () => world.wrong(known)).filter((code) => code === "unauthenticated")).toHaveLength(120);
    expect(world.right(known, "tok")).toMatchObject({ code: "rate_limited" });
    const elsewhere = new World();
    const insider = elsewhere.tcp("10.0.0.1");
    elsewhere.right(insider, "tok");
    times(120, () => elsewhere.wrong(insider));
    expect(elsewhere.knock(elsewhere.tcp("10.0.0.1"))).toMatchObject({ code: "rate_limited" });
  });

  test("B1 B7 tries that are looked at together tell no more than one after the other: the answer goes by the count when it is given", () => {
    const world = new World();
    const { wrong, right } = world.together(world.tcp("10.0.0.1"), 2_000, "tok");
    expect(wrong.filter(({ code }) => code === "unauthenticated")).toHaveLength(120);
    expect(right).toEqual(wrong.at(-1));
  });

  test("B7 right ones are never counted as wrong", () => {
    const world = new World();
    const peer = world.tcp("10.0.0.1");
    times(10_000, () => world.right(peer, "tok"));
    expect(times(120, () => world.wrong(world.tcp("10.0.0.1"))).every((code) => code === "unauthenticated")).toBe(true);
  });

  test("B1 B7 wrong ones for one session or key are counted wherever they come from, and told so; the right one passes, and whether there is such a one plays no part", () => {
    for (const raw of [tokenFor("A"), keyFor("K")]) {
      const world = new World();
      const told = Array.from({ length: 130 }, (_, each) => world.wrong(world.tcp(`10.0.0.${each}`), raw));
      expect(told.map(({ code }) => code)).toEqual([...Array<string>(120).fill("unauthenticated"), ...Array<string>(10).fill("rate_limited")]);
      let fresh = 0;
      truthful(world, perId, () => world.wrong(world.tcp(`10.1.0.${(fresh += 1)}`), raw), "unauthenticated");
      expect(world.right(world.tcp("10.2.0.1"), "tok")).toBe("ok");
      // Another one is not concerned.
      expect(world.wrong(world.tcp("10.3.0.1"), tokenFor("B")).code).toBe("unauthenticated");
    }
  });

  test("B7 a made-up key beside a token does not hide for which session it was", () => {
    const world = new World();
    const both = (each: number): unknown => ({
      auth: { ...(tokenFor("A") as { auth: object }).auth, api_key: formatApiKey(`key_${String(each).padStart(22, "0")}`, "s".repeat(32)) },
    });
    for (let each = 0; each < 120; each++) world.wrong(world.unix(String(each)), both(each));
    expect(world.wrong(world.unix("x"), tokenFor("A"))).toMatchObject({ code: "rate_limited", detail: { limit: perId } });
  });

  test("B7 what is no credential at all counts by its peer, and breaks nothing", () => {
    const world = new World();
    const odd: unknown[] = [
      undefined,
      null,
      7,
      "auth",
      [],
      {},
      { auth: null },
      { auth: "x" },
      { auth: { token: {} } },
      { auth: { api_key: 7, token: ["ssd_"] } },
      Object.create({ auth: wrongHostKey }),
    ];
    const peer = world.unix("1");
    for (const raw of odd) expect(world.wrong(peer, raw).code).toBe("unauthenticated");
    expect(times(120, () => world.wrong(peer, {})).filter((code) => code === "unauthenticated")).toHaveLength(120 - odd.length);
  });
});

describe("calls", () => {
  const spent: readonly [limit: LimitName, row: Row][] = [
    ["calls_per_token_per_minute_max", verbs.session_info],
    ["prompts_per_token_per_minute_max", verbs.send_prompt],
    ["starts_per_key_per_minute_max", verbs.start_session],
    ["starts_per_key_per_minute_max", verbs.start_or_get_for_workdir],
  ];
  test.each(spent)("B7 %s: one more is told when to come again, true to the millisecond; others are not concerned", (limit, of) => {
    const world = new World({ [limit]: 30 });
    const peer = world.unix("1");
    expect(times(30, () => world.right(peer, "holder", of))).toEqual(Array(30).fill("ok"));
    truthful(world, limit, () => world.right(peer, "holder", of));
    expect(world.right(peer, "another", of)).toBe("ok");
    expect(world.right(peer, undefined, of)).toBe("ok");
  });

  test("B7 prompts and starts have limits of their own beside that of calls, and the wait that is told is enough for both", () => {
    const world = new World({ calls_per_token_per_minute_max: 40, prompts_per_token_per_minute_max: 20 });
    const peer = world.unix("1");
    times(20, () => world.right(peer, "tok", verbs.send_prompt));
    expect(world.right(peer, "tok", verbs.send_prompt)).toMatchObject({ detail: { limit: "prompts_per_token_per_minute_max" } });
    expect(world.right(peer, "tok")).toBe("ok");
    times(40, () => world.right(peer, "tok"));
    truthful(world, "prompts_per_token_per_minute_max", () => world.right(peer, "tok", verbs.send_prompt));
  });

  test("B7 a holder's calls are his on every connection, and a refused one costs nothing: who comes back in time gets all that there is", () => {
    const world = new World({ calls_per_token_per_minute_max: 60 });
    let passed = 0;
    for (let ms = 0; ms <= 60_000; ms += 100) {
      for (const name of ["a", "b"]) if (world.right(world.unix(name), "tok") === "ok") passed += 1;
      world.clock.advance(100);
    }
    expect(passed).toBe(120);
  });

  test("B7 whoever comes over TCP and has shown nothing yet may say so only so often; on the unix socket nobody counts that", () => {
    const world = new World({ open_calls_per_peer_per_minute_max: 50 });
    const limit = "open_calls_per_peer_per_minute_max";
    const hello = (peer: Peer) => world.right(peer, undefined, verbs.hello);
    expect(times(25, () => world.knock(world.tcp("10.0.0.1"))).concat(times(25, () => hello(world.tcp("10.0.0.1"))))).toEqual(Array(50).fill("ok"));
    truthful(world, limit, () => world.knock(world.tcp("10.0.0.1")));
    truthful(world, limit, () => hello(world.tcp("10.0.0.1")));
    expect(hello(world.tcp("10.0.0.2"))).toBe("ok");
    expect(world.turnedOut.length).toBeGreaterThan(0);
    // Saying hello proves nothing, and a credential is looked at all the same.
    expect(world.right(world.tcp("10.0.0.1"), "tok")).toBe("ok");
    expect(times(10_000, () => hello(world.unix("1"))).every((told) => told === "ok")).toBe(true);
  });
});

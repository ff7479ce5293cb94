import fc from "fast-check";
import type { Approval, VerbInput, VerbName, WhenBusy } from "@sessiond/shared";
import type { ScriptedTurn } from "../support/scripted-agent.ts";
import { promptId, type Rig, seatSecret, type TestSeat } from "../support/session-rig.ts";
import { type BrokerModel, queueMax, requestMs } from "./broker-model.ts";

/**
 * What clients, the agent and time do to a session. Each command says what the model expects of
 * the answer, does it to both, and leaves it to the test to compare them.
 */
export interface Real {
  readonly rig: Rig;
  readonly seats: Map<string, { seat: TestSeat; secret: string }>;
  readonly asked: Map<string, Promise<unknown>>;
  calls: number;
}

/** A command's expectation: the code of the refusal, or `ok`. */
export interface Step {
  readonly name: string;
  /** @returns the expected outcome; the model is changed already */
  readonly expect: (model: BrokerModel) => string;
  readonly act: (real: Real, before: Before) => Promise<unknown>;
  /** How a failure prints it. */
  readonly [fc.toStringMethod]: () => string;
}

/** Facts about the model before the step, where the call needs them. */
export interface Before {
  readonly driver: string | undefined;
  /** When its grace ends, where it is away. */
  readonly driverGoesAt: number | null;
  readonly questions: readonly string[];
  readonly turn: string | null;
  readonly running: number;
}

const names = ["ada", "bo", "cy"] as const;
const badId = "prm_" + "9".repeat(22);

const secretsOf = (real: Real, name: string) => real.seats.get(name);
const call = <V extends VerbName>(real: Real, name: string, verb: V, input: Omit<VerbInput<V>, "session_id">): Promise<unknown> => {
  const secret = secretsOf(real, name)?.secret ?? seatSecret("nobody");
  const auth = { token: real.rig.token, seat_secret: secret };
  return real.rig.daemon.call(verb, { session_id: real.rig.sessionId, ...input } as VerbInput<V>, auth);
};

/** What every row of gate `driver` says to this caller; null: it may. */
const notDriver = (model: BrokerModel, name: string): string | null => {
  const seat = model.seat(name);
  return seat === undefined ? "not_attached" : seat.role === "driver" ? null : "not_driver";
};

const open = async (real: Real, name: string, role: "driver" | "viewer", extra: { fallback?: "viewer"; force?: true } = {}): Promise<void> => {
  const secret = seatSecret(name);
  const seat = await real.rig.attach(name, { role, secret, ...extra });
  real.seats.set(name, { seat, secret });
};

const step = (name: string, expect: Step["expect"], act: Step["act"]): Step => ({ name, expect, act, [fc.toStringMethod]: () => name });
/** Mostly who begins as the driver, so that most calls get past the gate. */
const who = fc.oneof(
  { weight: 5, arbitrary: fc.constant(names[0]) },
  { weight: 3, arbitrary: fc.constant(names[1]) },
  { weight: 1, arbitrary: fc.constant(names[2]) },
);

const attachAs = (name: string, how: "viewer" | "driver" | "fallback" | "force"): Step =>
  step(
    `${name} attaches as ${how}`,
    (model) => {
      // One that has its seat stays in it: only a newcomer is tried here.
      if (model.seat(name) !== undefined) return "skip";
      const free = model.driver === undefined;
      if (how === "driver" && !free) return "driver_taken";
      model.sit(name, how !== "viewer" && free ? "driver" : "viewer");
      if (how === "force") model.drive(name);
      return "ok";
    },
    (real) => open(real, name, how === "viewer" ? "viewer" : "driver", how === "fallback" ? { fallback: "viewer" } : how === "force" ? { force: true } : {}),
  );

const attach = fc
  .record({ name: who, how: fc.constantFrom("viewer" as const, "driver" as const, "fallback" as const, "force" as const) })
  .map(({ name, how }) => attachAs(name, how));

/** How each sequence begins, so that most of its steps find somebody there. */
export const beginning = (): Step[] => [attachAs("ada", "driver"), attachAs("bo", "viewer")];

const drop = who.map((name) =>
  step(
    `${name}'s connection drops`,
    (model) => {
      if (model.seat(name)?.goesAt !== null) return "skip";
      model.lose(name);
      return "ok";
    },
    (real) => secretsOf(real, name)?.seat.drop() ?? Promise.resolve(),
  ),
);

const comeBack = who.map((name) =>
  step(
    `${name} returns`,
    (model) => {
      if (typeof model.seat(name)?.goesAt !== "number") return "skip";
      model.resume(name);
      return "ok";
    },
    async (real) => {
      const held = secretsOf(real, name);
      if (held === undefined) return;
      // As a client does: its cursor, and what it once attached as.
      const seat = await real.rig.attach(name, { role: "viewer", secret: held.secret });
      real.seats.set(name, { seat, secret: held.secret });
    },
  ),
);

const detach = who.map((name) =>
  step(
    `${name} detaches`,
    (model) => {
      if (model.seat(name) === undefined) return "not_attached";
      model.leave(name);
      return "ok";
    },
    (real) => call(real, name, "detach", {}),
  ),
);

const time = fc.constantFrom(1_000, 9_000, 16_000, 31_000).map((ms) =>
  step(
    `${ms} ms pass`,
    (model) => {
      model.advance(ms);
      return "ok";
    },
    (real, before) => passes(real, before, ms),
  ),
);

/**
 * A wheel that falls free is handed over after writes to the disk, for which no time passes here: what falls due
 * a moment after it must find the new driver. So time stands at the end of a driver's grace until that is done.
 */
async function passes({ rig }: Real, { driver, driverGoesAt }: Before, ms: number): Promise<void> {
  const until = rig.clock.now() + ms;
  if (driverGoesAt !== null && driverGoesAt <= until) {
    rig.clock.advance(driverGoesAt - rig.clock.now());
    const holder = () => rig.daemon.host.inMemory(rig.sessionId)?.state.seats.find(({ role }) => role === "driver");
    const asks = () => (rig.daemon.host.inMemory(rig.sessionId)?.state.driver_requests.length ?? 0) > 0;
    while (holder()?.label === driver || (holder() === undefined && asks())) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  rig.clock.advance(until - rig.clock.now());
}

const take = fc
  .record({ name: who, how: fc.constantFrom("if_free" as const, "ask" as const, "force" as const), stale: fc.boolean() })
  .map(({ name, how, stale }) =>
    step(
      `${name} takes the wheel: ${how}${stale ? " of another seat" : ""}`,
      (model) => {
        if (model.seat(name) === undefined) return "not_attached";
        const driver = model.driver;
        if (driver?.name === name) return "ok";
        // Who has no connection would be a driver whom nobody can see.
        if (model.seat(name)?.goesAt !== null) return "not_attached";
        if (driver === undefined) model.drive(name);
        else if (how === "if_free") return "driver_taken";
        else if (how === "force" && !stale) model.drive(name);
        else if (how === "ask" && !model.requests.some((request) => request.name === name)) model.requests.push({ name, lapsesAt: model.now + requestMs });
        return "ok";
      },
      (real, { driver }) => {
        const seatId = stale ? "seat_" + "0".repeat(22) : (secretsOf(real, driver ?? name)?.seat.seatId ?? "");
        return call(real, name, "take_driver", { how, ...(how === "force" && { driver_seat_id: seatId }) });
      },
    ),
  );

const yields = fc.record({ name: who, to: fc.option(who, { nil: undefined }) }).map(({ name, to }) =>
  step(
    `${name} yields to ${to ?? "whoever asked"}`,
    (model) => {
      const refused = notDriver(model, name);
      if (refused !== null) return refused;
      // Who asked and lost the connection cannot be given the wheel.
      if (to !== undefined && !(model.requests.some((request) => request.name === to) && model.seat(to)?.goesAt === null)) return "not_found";
      model.yieldTo(to);
      return "ok";
    },
    (real) => {
      const seatId = to === undefined ? undefined : (secretsOf(real, to)?.seat.seatId ?? "seat_" + "0".repeat(22));
      return call(real, name, "yield_driver", { ...(seatId !== undefined && { to: seatId }) });
    },
  ),
);

const whens: readonly WhenBusy[] = ["steer", "queue", "interrupt", "reject"];
const prompt = fc.record({ name: who, whenBusy: fc.constantFrom(...whens) }).map(({ name, whenBusy }) => {
  const id = promptId();
  return step(
    `${name} prompts: ${whenBusy}`,
    (model) => {
      const refused = notDriver(model, name);
      if (refused !== null) return refused;
      if (model.turn !== null && whenBusy === "reject") return "turn_in_progress";
      if (model.turn !== null && model.queue.length >= queueMax) return "queue_full";
      model.accept(id, "first", whenBusy);
      return "ok";
    },
    (real) => call(real, name, "send_prompt", { prompt_id: id, parts: [{ type: "text", text: "first" }], when_busy: whenBusy }),
  );
});

/** A prompt of those sent so far, or one that never was. */
const known = fc.nat(200);
const pick = (model: BrokerModel, index: number): string => [...model.sent.keys(), badId][index % (model.sent.size + 1)] ?? badId;

const repeat = fc.record({ name: who, index: known, same: fc.boolean() }).map(({ name, index, same }) => {
  let id = badId;
  return step(
    `${name} repeats a prompt${same ? "" : " with another text"}`,
    (model) => {
      id = pick(model, index);
      const refused = notDriver(model, name);
      if (refused !== null) return refused;
      if (id === badId) return "skip";
      return same ? "ok" : "conflict";
    },
    (real) => call(real, name, "send_prompt", { prompt_id: id, parts: [{ type: "text", text: same ? "first" : "other" }], when_busy: "queue" }),
  );
});

const edit = fc.record({ name: who, index: known }).map(({ name, index }) => {
  let id = badId;
  return step(
    `${name} edits a prompt`,
    (model) => {
      id = pick(model, index);
      const refused = notDriver(model, name);
      if (refused !== null) return refused;
      const queued = model.queue.find((waiting) => waiting.id === id);
      if (queued === undefined) return "prompt_gone";
      queued.text = "edited";
      return "ok";
    },
    (real) => call(real, name, "edit_prompt", { prompt_id: id, parts: [{ type: "text", text: "edited" }] }),
  );
});

const withdraw = fc.record({ name: who, index: known }).map(({ name, index }) => {
  let id = badId;
  return step(
    `${name} withdraws a prompt`,
    (model) => {
      id = pick(model, index);
      const refused = notDriver(model, name);
      if (refused !== null) return refused;
      if (!model.queue.some((waiting) => waiting.id === id)) return "prompt_gone";
      model.remove(id, "withdrawn");
      return "ok";
    },
    (real) => call(real, name, "withdraw_prompt", { prompt_id: id }),
  );
});

const release = who.map((name) =>
  step(
    `${name} releases the queue`,
    (model) => {
      const refused = notDriver(model, name);
      if (refused !== null) return refused;
      for (const waiting of model.queue) waiting.held = false;
      model.beginNext();
      return "ok";
    },
    (real) => call(real, name, "release_queue", {}),
  ),
);

const interrupt = fc.constant(
  step(
    "the turn is interrupted",
    (model) => {
      if (model.turn === null) return "skip";
      model.hold();
      model.endTurn();
      return "ok";
    },
    async (real) => {
      const { turn } = await real.rig.info();
      return real.rig.interrupt(turn?.turn_id ?? "");
    },
  ),
);

const running = (real: Real): ScriptedTurn => real.rig.kind.turns.at(-1) as ScriptedTurn;

const ask = fc.constantFrom("make", "npm test").map((command) => {
  let id = "";
  return step(
    `the agent asks to run ${command}`,
    (model) => {
      if (model.turn === null || model.questions.length > 3) return "skip";
      id = `call-${model.turnsBegun}-${model.now}`;
      model.ask(id, command);
      return "ok";
    },
    async (real) => {
      const turn = running(real);
      await turn.call(id, { command });
      real.asked.set(
        id,
        turn
          .ask(id, { command }, command, { pattern: { type: "command", command, directory: "/" } })
          .then((answer) => (answer.allowed ? "allowed" : "refused")),
      );
    },
  );
});

const options = ["allow_once", "allow_turn", "allow_session", "reject_once", "no_such_option"] as const;
const approve = fc.record({ name: who, index: fc.nat(3), option: fc.constantFrom(...options), again: fc.boolean() }).map(({ name, index, option, again }) => {
  let id: string | undefined;
  return step(
    `${name} answers ${option}`,
    (model) => {
      const question = model.questions[index];
      id = question?.call;
      const refused = notDriver(model, name);
      if (refused !== null) return refused;
      if (question === undefined) return "approval_gone";
      if (option === "no_such_option") return "bad_request";
      model.questions.splice(index, 1);
      if (option === "allow_turn" && !model.allowed.has(question.command)) model.allowed.set(question.command, "turn");
      if (option === "allow_session") model.allowed.set(question.command, "session");
      return "ok";
    },
    async (real) => {
      const { approvals } = await real.rig.info();
      const question: Pick<Approval, "approval_id" | "digest"> = approvals.find((open) => open.tool_call_id === id) ?? {
        approval_id: "apr_" + "0".repeat(22),
        digest: "0".repeat(64),
      };
      await call(real, name, "approve", { approval_id: question.approval_id, digest: question.digest, option_id: option });
      // A second answer is told that it came too late, and changes nothing.
      if (again) {
        const late = await call(real, name, "approve", { approval_id: question.approval_id, digest: question.digest, option_id: "reject_once" }).catch(codeOf);
        if (late !== "approval_gone") throw new Error(`a second answer got ${String(late)}`);
      }
    },
  );
});

const agentEnds = fc.constant(
  step(
    "the agent ends its turn",
    (model) => {
      if (model.turn === null) return "skip";
      model.endTurn();
      return "ok";
    },
    async (real) => running(real).end(),
  ),
);

const steering = fc.constant(
  step(
    "the agent comes for what steers it",
    (model) => {
      if (model.turn === null) return "skip";
      model.steer();
      return "ok";
    },
    async (real) => running(real).takeSteering(),
  ),
);

const configure = fc
  .record({
    name: who,
    title: fc.constantFrom("one", "two", null),
    model: fc.constantFrom(undefined, "other", "no such model"),
    ms: fc.constantFrom(undefined, 5_000, 20_000, 20_000),
  })
  .map(({ name, title, model: wanted, ms }) =>
    step(
      `${name} configures: ${title ?? "no title"}, model ${wanted ?? "kept"}, policy ${ms ?? "kept"}`,
      (model) => {
        const refused = notDriver(model, name);
        if (refused !== null) return refused;
        if (wanted === "no such model") return "model_unknown";
        model.title = title;
        model.model = wanted ?? model.model;
        if (ms !== undefined) model.setPolicy({ type: "reject_after", ms });
        return "ok";
      },
      (real) =>
        call(real, name, "configure_session", {
          title,
          ...(wanted !== undefined && { model: wanted }),
          ...(ms !== undefined && { policy: { type: "reject_after", ms } }),
        }),
    ),
  );

/** The code of a refusal, or the name of an error that is none. */
export const codeOf = (error: unknown): string => (error instanceof Error && "code" in error ? String(error.code) : String(error));

/** In about the shares in which they lead somewhere. */
export const steps = fc.oneof(
  { weight: 4, arbitrary: attach },
  { weight: 3, arbitrary: drop },
  { weight: 3, arbitrary: comeBack },
  { weight: 2, arbitrary: detach },
  { weight: 2, arbitrary: time },
  { weight: 4, arbitrary: take },
  { weight: 2, arbitrary: yields },
  { weight: 8, arbitrary: prompt },
  { weight: 1, arbitrary: repeat },
  { weight: 2, arbitrary: edit },
  { weight: 2, arbitrary: withdraw },
  { weight: 1, arbitrary: release },
  { weight: 1, arbitrary: interrupt },
  { weight: 6, arbitrary: ask },
  { weight: 5, arbitrary: approve },
  { weight: 3, arbitrary: agentEnds },
  { weight: 2, arbitrary: steering },
  { weight: 4, arbitrary: configure },
);

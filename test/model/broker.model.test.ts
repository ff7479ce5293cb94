import { wordsOf } from "@sessiond/shared";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import type { SessionInfo } from "@sessiond/shared";
import { amount, shrinks } from "../support/amount.ts";
import { endRigs, eventsOf, Rig } from "../support/session-rig.ts";
import { type Before, beginning, codeOf, type Real, type Step, steps } from "./broker-commands.ts";
import { BrokerModel, queueMax } from "./broker-model.ts";

/**
 * Several clients on one session, at random, against a small model: after each step the answer,
 * the session and what every client has folded for itself must be what the model says.
 *
 * SESSIOND_STEPS sets how many steps (about 1,000 unless told; `.ci/run` does 6,000),
 * SESSIOND_SEED the seed; a failure prints both with the shortest sequence that fails.
 */
const wanted = amount(1_000, 6_000, "SESSIOND_STEPS");
const seed = Number(process.env["SESSIOND_SEED"] ?? Date.now() % 1_000_000_000);
const length = 60;
const hits = new Map<string, number>();
let taken = 0;

/** What model and session are compared by. */
const ofModel = (model: BrokerModel) => ({
  seats: model.seats.map(({ name, role, goesAt }) => `${name} ${role}${goesAt === null ? "" : " away"}`).toSorted(),
  requests: model.requests.map(({ name, lapsesAt }) => `${name} until ${lapsesAt}`),
  queue: model.queue.map(({ id, text, whenBusy, held }) => `${id} ${text} ${whenBusy}${held ? " held" : ""}`),
  questions: model.questions.map(({ call, remaining, dueAt }) => `${call} ${remaining ?? "-"} ${dueAt ?? "-"}`),
  turn: model.turn,
  turns: model.turnsBegun,
  settings: [model.title, model.model, model.policy],
});

const ofSession = (info: SessionInfo) => ({
  seats: info.seats.map(({ label, role, connected }) => `${label} ${role}${connected ? "" : " away"}`).toSorted(),
  requests: info.driver_requests.map(({ label, lapses_at }) => `${label} until ${lapses_at}`),
  queue: info.queue.map(({ prompt_id, parts, when_busy, held }) => `${prompt_id} ${textOf(parts)} ${when_busy}${held ? " held" : ""}`),
  questions: info.approvals.map(({ tool_call_id, remaining_ms, deadline }) => `${tool_call_id} ${remaining_ms ?? "-"} ${deadline ?? "-"}`),
  turn: info.turn?.prompt_ids[0] ?? null,
  turns: info.turns,
  settings: [info.title, info.model, info.policy],
});
const textOf = (parts: SessionInfo["queue"][number]["parts"]): string => parts.map((part) => wordsOf([part])).join();

/** The agent's part of a turn's end and begin comes some ticks later: wait for it, then it must be exactly so. */
async function agree(model: BrokerModel, real: Real): Promise<void> {
  const should = JSON.stringify(ofModel(model));
  let info = await real.rig.info();
  for (let ticks = 0; ticks < 300 && (JSON.stringify(ofSession(info)) !== should || real.rig.kind.turns.length !== model.turnsBegun); ticks++) {
    await new Promise((resolve) => setTimeout(resolve, ticks > 50 ? 5 : 0));
    info = await real.rig.info();
  }
  expect(ofSession(info)).toEqual(ofModel(model));
  const shown = real.rig.daemon.host.inMemory(real.rig.sessionId)?.log.shown.state;
  for (const { seat } of real.seats.values()) {
    if (seat.end !== undefined) continue;
    await seat.until(() => seat.state.seq >= (shown?.seq ?? 0) || seat.end !== undefined);
    if (seat.end === undefined && seat.state.seq === shown?.seq) expect(seat.state).toEqual(shown);
  }
}

async function run(sequence: readonly Step[]): Promise<void> {
  const rig = await Rig.start({
    limits: { queue_prompts_max: queueMax, rest_after_ms: 1e9, unused_delete_ms: 1e9 },
    script: { knows: (name) => name !== "no such model" },
  });
  const real: Real = { rig, seats: new Map(), asked: new Map(), calls: 0 };
  const model = new BrokerModel(rig.clock.now());
  const told: string[] = [];
  try {
    for (const { name, expect: expected, act } of [...beginning(), ...sequence]) {
      // So that no two things ever fall due at once, and their order is certain.
      rig.clock.advance(1);
      model.advance(1);
      const before: Before = {
        driver: model.driver?.name,
        driverGoesAt: model.driver?.goesAt ?? null,
        questions: model.questions.map(({ call }) => call),
        turn: model.turn,
        running: model.turnsBegun,
      };
      const should = expected(model);
      if (should === "skip") continue;
      const outcome = await act(real, before).then(() => "ok", codeOf);
      told.push(`${name}: ${outcome}`);
      taken += 1;
      hits.set(`${name.replace(/^(ada|bo|cy) /, "")} → ${should}`, (hits.get(`${name.replace(/^(ada|bo|cy) /, "")} → ${should}`) ?? 0) + 1);
      expect(outcome).toBe(should);
      await agree(model, real);
    }
    const frames = await rig.journal();
    const ends = (["prompt_delivered", "prompt_withdrawn", "prompt_discarded"] as const).flatMap((type) =>
      eventsOf(frames, type).map(({ prompt_id }) => prompt_id),
    );
    expect(ends.toSorted()).toEqual([...model.ends.keys()].toSorted());
    expect(rig.daemon.bugs).toEqual([]);
  } catch (error) {
    throw new Error(`after\n  ${told.join("\n  ")}\n${error instanceof Error ? error.message : String(error)}`, { cause: error });
  } finally {
    await endRigs();
  }
}

afterAll(() => {
  const shown = [...hits].toSorted((a, b) => a[1] - b[1]).map(([name, count]) => `${count} ${name}`);
  console.log(`model: ${taken} steps, seed ${seed}, ${hits.size} kinds; rarest: ${shown.slice(0, 5).join(", ")}`);
});

test("B14 B16 B18 B19 B21 B22 B23 B26 B27 B28 B29 B44 clients in any order see what a small model says", { timeout: 600_000 }, async () => {
  const sequences = fc.array(steps, { minLength: 1, maxLength: length, size: "max" });
  while (taken < wanted)
    await fc.assert(fc.asyncProperty(sequences, run), {
      seed: seed + taken,
      numRuns: Math.max(1, Math.ceil((wanted - taken) / length)),
      interruptAfterTimeLimit: 400_000,
      endOnFailure: !shrinks,
    });
  expect(taken).toBeGreaterThanOrEqual(wanted);
});

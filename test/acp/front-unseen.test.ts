import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { SeatEvent, SessionState, ViewerSeat } from "@sessiond/client";
import { connect } from "@sessiond/client/node";
import { limits } from "@sessiond/shared";
import type { AcpUpdate, JsonRpcPeer } from "@sessiond/shared/acp";
import { afterEach, expect, test } from "vitest";
import { FrontSession } from "../../packages/acp/src/front-session.ts";
import { FrontRig } from "../support/acp-front-rig.ts";

/** What an editor that was suspended finds: frames that are no longer kept one by one, and a snapshot behind them. */
const rig = new FrontRig();
afterEach(() => rig.end());

/** Nothing is seen while it is on; it ends where `until` holds. */
interface Unseen {
  on: boolean;
  until: (state: SessionState) => boolean;
}

async function* seenOf(seat: ViewerSeat, events: AsyncIterable<SeatEvent>, unseen: Unseen): AsyncGenerator<SeatEvent, undefined> {
  let seen = 0;
  for await (const event of events) {
    if (event.type === "snapshot") yield event;
    else if (!unseen.on && event.frame.seq > seen) yield event;
    else if (unseen.on && unseen.until(seat.state)) {
      unseen.on = false;
      seen = seat.state.seq;
      yield { type: "snapshot", state: seat.state, reset: "too_old" };
    }
  }
}

interface Asked {
  readonly answer: () => void;
  readonly withdrawn: Promise<void>;
}

/** @param permits  the editor allows at once what it is asked */
async function scene(unseen: Unseen, permits = true) {
  const { daemon, kind, env } = await rig.scripted();
  const workdir = join(daemon.root, "work");
  mkdirSync(workdir);
  const host = await connect({ env, autoStart: false });
  const session = await host.startSession({ workdir });
  const attached = session.attach.bind(session);
  const attach = async (): Promise<ViewerSeat> => {
    const seat = await attached({ as: "viewer" });
    return Object.assign(seat, { events: seenOf(seat, seat.events, unseen) });
  };
  const said: AcpUpdate[] = [];
  const asked: Asked[] = [];
  let wake = (): void => undefined;
  const question = async (count: number): Promise<Asked> => {
    while (asked.length < count) await new Promise<void>((resolve) => (wake = resolve));
    return asked[count - 1]!;
  };
  const peer: Pick<JsonRpcPeer, "notify" | "request" | "flushed"> = {
    notify: (_method, params) => void said.push((params as { update: AcpUpdate }).update),
    request: (_method, _params, options) =>
      new Promise((resolve, reject) => {
        const answer = (): void => resolve({ outcome: { outcome: "selected", optionId: "allow_once" } });
        const withdrawn = new Promise<void>((done) => options?.signal?.addEventListener("abort", () => done()));
        void withdrawn.then(() => reject(new Error("withdrawn")));
        asked.push({ answer, withdrawn });
        wake();
        if (permits) answer();
      }),
    flushed: () => Promise.resolve(),
  };
  const front = await FrontSession.open(
    {
      session: Object.assign(session, { attach }),
      peer: peer as JsonRpcPeer,
      options: { observe: "own", viewer: false, close: "detach" },
      client: { label: "editor", booleans: false, notices: false },
      limits,
      owner: true,
      ended: () => undefined,
    },
    { replay: false, back: false },
  );
  front.run();
  const prompt = (text: string) => front.prompt([{ type: "text", text }], new AbortController().signal);
  return { kind, host, session, prompt, said, asked, question, [Symbol.asyncDispose]: () => host.close() };
}

test("B25 a turn of the editor's own prompt that began unseen is shown to it, and its question is asked", async () => {
  await using at = await scene({ on: true, until: ({ approvals }) => approvals.length > 0 });
  const answer = at.prompt("go");
  const turn = await at.kind.turn();
  await turn.call("c1");
  expect(await turn.ask("c1")).toMatchObject({ allowed: true, cause: "answer" });
  expect(at.asked).toHaveLength(1);
  await turn.say("told behind it");
  turn.end();
  expect(await answer).toEqual({ stopReason: "end_turn" });
  expect(at.said).toContainEqual(expect.objectContaining({ content: { type: "text", text: "told behind it" } }));
});

test("B23 a prompt whose queue was held unseen is taken back and answered, not left to hang", async () => {
  await using at = await scene({ on: true, until: ({ queue }) => queue.some(({ held }) => held) });
  const first = at.prompt("one");
  const turn = await at.kind.turn();
  const second = at.prompt("two");
  while ((await at.session.info()).queue.length === 0);
  // Somebody else ends the turn.
  turn.signal.addEventListener("abort", () => turn.end("cancelled"));
  await at.host.session(at.session.id).interrupt();
  expect(await first).toEqual({ stopReason: "cancelled" });
  expect(await second).toEqual({ stopReason: "cancelled" });
  expect((await at.session.info()).queue).toEqual([]);
});

test("B27 with a wheel that changes hands unseen the editor's question is withdrawn, and asked again", async () => {
  const unseen: Unseen = { on: false, until: () => false };
  await using at = await scene(unseen, false);
  const answer = at.prompt("go");
  const turn = await at.kind.turn();
  await turn.call("c1");
  const settled = turn.ask("c1");
  const other = await (await at.host.openSession(at.session.id)).attach({ as: "viewer", label: "bo" });
  const first = await at.question(1);

  const drivers = ({ seats }: SessionState) => seats.flatMap(({ role, label }) => (role === "driver" ? [label] : []));
  Object.assign(unseen, { on: true, until: (state: SessionState) => drivers(state)[0] === "bo" });
  const driver = await other.takeDriver({ how: "force" });
  await first.withdrawn;

  Object.assign(unseen, { on: true, until: (state: SessionState) => drivers(state).length === 0 });
  await driver.yieldDriver();
  (await at.question(2)).answer();
  expect(await settled).toMatchObject({ allowed: true, cause: "answer" });
  turn.end();
  expect(await answer).toEqual({ stopReason: "end_turn" });
});

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { SeatEvent, Session, SessionState, ViewerSeat } from "@sessiond/client";
import { connect } from "@sessiond/client/node";
import { limits } from "@sessiond/shared";
import type { AcpPermissionRequest, AcpUpdate, JsonRpcPeer } from "@sessiond/shared/acp";
import { afterEach, expect, test } from "vitest";
import { FrontSession } from "../../packages/acp/src/front-session.ts";
import { FrontRig } from "../support/acp-front-rig.ts";

/** What an editor that was suspended finds: frames that are no longer kept one by one, and a snapshot behind them. */
const rig = new FrontRig();
afterEach(() => rig.end());

/** A seat's events without what came before `there` held. */
async function* unseenUntil(seat: ViewerSeat, events: AsyncIterable<SeatEvent>, there: (state: SessionState) => boolean): AsyncGenerator<SeatEvent, undefined> {
  let seen = Infinity;
  for await (const event of events) {
    if (event.type === "snapshot") yield event;
    else if (event.frame.seq > seen) yield event;
    else if (seen === Infinity && there(seat.state)) {
      seen = seat.state.seq;
      yield { type: "snapshot", state: seat.state, reset: "too_old" };
    }
  }
}

/** A front's session whose editor sees nothing until `there` holds, and then allows what it is asked. */
async function scene(there: (state: SessionState) => boolean) {
  const { daemon, kind, env } = await rig.scripted();
  const workdir = join(daemon.root, "work");
  mkdirSync(workdir);
  const host = await connect({ env, autoStart: false });
  const session = await host.startSession({ workdir });
  const attach = async (...how: Parameters<Session["attach"]>): Promise<ViewerSeat> => {
    const seat = await Object.getPrototypeOf(session).attach.apply(session, how);
    return Object.assign(seat, { events: unseenUntil(seat, seat.events, there) });
  };
  const said: AcpUpdate[] = [];
  const asked: AcpPermissionRequest[] = [];
  const peer: Pick<JsonRpcPeer, "notify" | "request" | "flushed"> = {
    notify: (_method, params) => void said.push((params as { update: AcpUpdate }).update),
    request: (_method, params) => {
      asked.push(params as AcpPermissionRequest);
      return Promise.resolve({ outcome: { outcome: "selected", optionId: "allow_once" } });
    },
    flushed: () => Promise.resolve(),
  };
  const front = await FrontSession.open(
    {
      session: Object.assign(session, { attach }),
      peer: peer as JsonRpcPeer,
      options: { observe: "own", viewer: false } as never,
      client: { label: "editor", booleans: false, notices: false } as never,
      limits,
      owner: true,
      ended: () => undefined,
    },
    { replay: false, back: false },
  );
  front.run();
  const prompt = (text: string) => front.prompt([{ type: "text", text }], new AbortController().signal);
  return { kind, host, session, prompt, said, asked, [Symbol.asyncDispose]: () => host.close() };
}

test("B25 a turn of the editor's own prompt that began unseen is shown to it, and its question is asked", async () => {
  await using at = await scene(({ approvals }) => approvals.length > 0);
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
  await using at = await scene(({ queue }) => queue.some(({ held }) => held));
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

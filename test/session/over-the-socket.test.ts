import { afterEach, expect, test } from "vitest";
import { connect } from "@sessiond/client/node";
import { WebSocket } from "ws";
import { testEnv } from "../../packages/daemon/src/testing.ts";
import { endRigs, eventsOf, promptId, Rig } from "../support/session-rig.ts";

/** The same promises once more, through a real socket and the client library. */
afterEach(endRigs);

/** The library's handle on the rig's session; both ends are closed by the test's end. */
async function client(rig: Rig, clientName: string) {
  const host = await connect({ env: testEnv(rig.daemon.root), autoStart: false, clientName });
  return { host, session: await host.sessionForWorkdir(rig.workdir) };
}

test("B14 over the socket a second driver is refused with the holder's label; with a fallback it gets a viewer's seat", async () => {
  const rig = await Rig.start();
  await using one = (await client(rig, "editor")).host;
  await using two = (await client(rig, "terminal")).host;
  const driver = await (await one.sessionForWorkdir(rig.workdir)).attach({ as: "driver", label: "editor" });
  const other = await two.sessionForWorkdir(rig.workdir);
  await expect(other.attach({ as: "driver" })).rejects.toMatchObject({ code: "driver_taken", detail: { driver: "editor" } });
  const viewer = await other.attach({ as: "driver", fallback: "viewer" });
  expect([driver.role, viewer.role]).toEqual(["driver", "viewer"]);
  expect(eventsOf(await rig.journal(), "seat_taken").map(({ role }) => role)).toEqual(["driver", "viewer"]);
});

test("B18 B21 B26 over the socket: started before the agent speaks, repeated once, answered once", async () => {
  const rig = await Rig.start();
  const { host, session } = await client(rig, "editor");
  await using _closed = host;
  const seat = await session.attach({ as: "driver" });
  const id = promptId();
  const first = await seat.sendPrompt("work", { promptId: id });
  expect(first).toMatchObject({ became: "started" });
  expect(await seat.sendPrompt("work", { promptId: id })).toEqual(first);
  await expect(seat.sendPrompt("else", { promptId: id })).rejects.toMatchObject({ code: "conflict" });
  const turn = await rig.kind.turn();
  await turn.call("c1");
  const answer = turn.ask("c1");
  while (seat.state.approvals.length === 0) await seat.changed();
  const [question] = seat.state.approvals;
  if (question === undefined) throw new Error("no question");
  await seat.approve(question, { kind: "allow_once" });
  expect(await answer).toMatchObject({ allowed: true, digest: question.digest });
  await expect(seat.approve(question, { kind: "reject_once" })).rejects.toMatchObject({ code: "approval_gone" });
  expect(rig.kind.turns).toHaveLength(1);
});

test("B14 B16 B19 over the socket: taken by force, asked for, yielded, steered and edited, with one order of frames for both", async () => {
  const rig = await Rig.start();
  await using one = (await client(rig, "editor")).host;
  await using two = (await client(rig, "terminal")).host;
  const editor = await (await one.sessionForWorkdir(rig.workdir)).attach({ as: "driver", label: "editor" });
  const terminal = await (await two.sessionForWorkdir(rig.workdir)).attach({ as: "driver", label: "terminal", force: true });
  while (editor.role !== "viewer") await editor.changed();
  await expect(editor.sendPrompt("mine")).rejects.toMatchObject({ code: "not_driver", detail: { driver: "terminal" } });
  await terminal.sendPrompt("work");
  const turn = await rig.kind.turn();
  const id = promptId();
  expect(await terminal.sendPrompt("left", { promptId: id, whenBusy: "steer" })).toMatchObject({ became: "steering" });
  await terminal.editPrompt(id, "right");
  expect(turn.takeSteering()).toBe(1);
  const asking = editor.takeDriver({ how: "ask" });
  while (terminal.state.driver_requests.length === 0) await terminal.changed();
  await terminal.yieldDriver();
  await asking;
  expect([editor.role, terminal.role]).toEqual(["driver", "viewer"]);
  await editor.sendPrompt("instead", { whenBusy: "interrupt" });
  expect((await rig.kind.turn()).text).toBe("instead");
  const { seq } = await rig.info();
  for (const seat of [editor, terminal]) while (seat.state.seq < seq) await seat.changed();
  expect(editor.state.messages).toEqual(terminal.state.messages);
  expect(editor.state.messages.map((message) => message.text)).toEqual(["work", "right", "instead"]);
  expect(eventsOf(await rig.journal(), "driver_changed").map(({ cause }) => cause)).toEqual(["forced", "yielded"]);
});

test("B30 over the socket the bytes of every frame are the journal's line", async () => {
  const rig = await Rig.start({ script: { auto: (turn) => void turn.say('quotes " and \u2028 and \ud83d\ude00 and "frames":[]').then(() => turn.end()) } });
  const texts: string[] = [];
  const socket = new WebSocket(`ws+unix://${rig.daemon.socketPath}:/`, { perMessageDeflate: false });
  const auth = { token: rig.token, seat_secret: "raw".padEnd(24, "_") };
  const input = { session_id: rig.sessionId, role: "viewer", label: "raw", cursor: "1:0", auth };
  socket.on("open", () => socket.send(JSON.stringify({ id: 1, jsonrpc: "2.0", method: "subscription", params: { path: "attach", input } })));
  const ended = new Promise<void>((resolve) =>
    socket.on("message", (data: Buffer) => (texts.push(data.toString("utf8")), texts.at(-1)?.includes('"type":"session_stopped"') && resolve())),
  );
  const driver = await rig.driver();
  for (let count = 1; count <= 3; count++) {
    await driver.prompt(`prompt ${count}`);
    await driver.event("turn_ended", count);
  }
  await rig.stop();
  await ended;
  socket.terminate();
  const sent = texts.join("\n");
  const lines = (await rig.lines()).filter((line) => line.startsWith('{"seq"'));
  let from = 0;
  for (const line of lines) {
    const at = sent.indexOf(line, from);
    expect(at, `frame in the right place: ${line.slice(0, 80)}`).toBeGreaterThanOrEqual(from);
    from = at + line.length;
  }
});

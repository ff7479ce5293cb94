import { chmodSync } from "node:fs";
import { afterEach, expect, test } from "vitest";
import type { DriverSeat } from "@sessiond/client";
import { agentTable, configure } from "../support/acp-house.ts";
import { eventually } from "../support/eventually.ts";
import { toldByProc } from "../support/process-family.ts";
import { Wreck } from "../support/wreck.ts";

/** ACP agents of real daemons: killed with them, found by doctor, and without a key where everybody reads. */
const homes: Wreck[] = [];
afterEach(async () => {
  for (const home of homes.splice(0)) await home.close();
});

function homeWith(script: object, env: Record<string, string> = {}): Wreck {
  const home = new Wreck();
  homes.push(home);
  configure(home.root, [agentTable(home.root, { script, env })]);
  return home;
}

async function driverOf(home: Wreck): Promise<DriverSeat> {
  const host = await home.connect();
  const session = await host.sessionForWorkdir(home.workdir, { agent: "scripted" });
  return session.attach({ as: "driver", force: true });
}

test("B39 B36 a daemon that is killed leaves no agent behind, nor what that one started; the next one takes the conversation up", async () => {
  const home = homeWith({ caps: { sessionCapabilities: { resume: {} } } });
  const seat = await driverOf(home);
  expect((await seat.prompt("say before")).text).toBe("before");
  await seat.sendPrompt("child\nstubborn\nsay waiting\nwait");
  await eventually("the turn goes on", () => seat.state.messages.some(({ type, text }) => type === "agent" && text.includes("waiting")));
  expect(home.tools()).toHaveLength(2);
  const agents = home.tools();
  await home.kill(await home.daemon());
  // The client of this test starts the next daemon by itself, which ends what is left.
  await eventually("the turn has ended", () => seat.state.last_turn?.stop_reason === "interrupted");
  await eventually("nothing of it is left", () => agents.every((pid) => !home.isAlive(pid)));
  expect((await seat.prompt("history")).text).toBe("2 before");
}, 120_000);

test("B2 the key of an agent stands in its own environment, and nowhere else that anybody reads", async () => {
  const key = "sk-a-key-of-the-agent-0123456789";
  const home = homeWith({}, { AGENT_API_KEY: key });
  const seat = await driverOf(home);
  await seat.prompt(`stderr my key is ${key}\nerror ${JSON.stringify({ code: -32603, message: `${key} is not valid` })}`).catch(() => undefined);
  await eventually("the turn has failed", () => seat.state.last_turn?.stop_reason === "failed");
  const [agent] = home.tools();
  for (const [place, text] of Object.entries(toldByProc(await home.daemon(), home.stateDir)))
    expect([place, text.includes(key)]).toEqual([place, place === `child environ (${agent})`]);
  expect(seat.state.last_turn?.error?.message).toBe("The agent scripted failed: … is not valid");
  await home.run("down");
  expect(home.logText()).not.toContain(key);
  const prompted = home.journal(seat.sessionId).filter(({ event }) => event.type !== "prompt_accepted");
  expect(JSON.stringify(prompted)).not.toContain(key);
}, 120_000);

test("B42 doctor tells of agents that are configured and not there, of what one said that could not be started, and of keys that others can read", async () => {
  const home = homeWith({ first: ["stderr there is no\u001b[2J model", "crash 2"] }, { AGENT_API_KEY: "sk-a-key-of-the-agent-0123456789" });
  const seat = await driverOf(home);
  await seat.prompt("say x").catch(() => undefined);
  await home.run("down");
  const first = await home.look();
  expect(first.facts["agents"]).toBe(`scripted (${process.execPath})`);
  expect(first.findings.filter(({ kind }) => kind === "agent")).toMatchObject([
    {
      weight: "note",
      session_id: seat.sessionId,
      what: expect.stringMatching(/ended while it was started \(exit code 2; .*Its last words: there is no\\u\{1b\}\[2J model/),
    },
  ]);
  configure(home.root, [{ ...agentTable(home.root), command: "no-such-agent", env: { K: "some key" } }]);
  chmodSync(`${home.root}/config/sessiond/config.toml`, 0o644);
  const second = await home.look();
  expect(second.findings.filter(({ weight }) => weight === "wrong").map(({ kind, what }) => [kind, what])).toEqual(
    expect.arrayContaining([
      ["agent", expect.stringContaining("the program no-such-agent of the agent scripted was not found")],
      ["place", expect.stringMatching(/config.toml|others|mode|0600/)],
    ]),
  );
}, 120_000);

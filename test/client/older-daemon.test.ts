import { readFileSync } from "node:fs";
import { connect, sessionFromToken } from "@sessiond/client/node";
import { emptyState, formatApiKey, formatToken, type SessionState } from "@sessiond/shared";
import { expect, test } from "vitest";
import { FalseDaemon } from "../support/false-daemon.ts";

/** A daemon of before, of the same protocol, as it was recorded: the library's answers have all that they have of a newer one. */
const told = JSON.parse(readFileSync(new URL("../fixtures/older-daemon.json", import.meta.url), "utf8")) as {
  readonly list_agents: { readonly agents: readonly object[] };
  readonly session_info: SessionState;
  readonly configure_session: object;
  readonly snapshot: SessionState;
};
const { session_id } = told.snapshot;
const seat = told.snapshot.seats[0];
const says = { ...told, attach: [{ id: "1:7", data: { type: "snapshot", cursor: "1:7", head: told.snapshot.seq, seat, snapshot: told.snapshot } }] };
const none = { plan: [], agent_facts: emptyState("").agent_facts, chosen: { title: false, mode: null, options: {} } };

test("B41 what an older daemon does not tell is as where there is nothing to be told: agents, facts, settings and the state itself", async () => {
  await using peer = await FalseDaemon.listen({ says });
  await using host = await connect({ url: peer.url, apiKey: formatApiKey(`key_${"K".repeat(22)}`, "k".repeat(32)) });
  await using session = await sessionFromToken(formatToken("control", session_id, "t".repeat(32)), { url: peer.url });
  const agents = told.list_agents.agents.map((agent) => ({ ...agent, kind: "built_in" }));
  expect(await host.listAgents()).toEqual(agents);
  expect(await session.listAgents()).toEqual(agents);
  expect(await session.info()).toEqual({ ...told.session_info, ...none });
  const driver = await session.attach({ as: "driver", label: "editor" });
  expect(driver.state).toEqual({ ...told.snapshot, ...none });
  expect(await driver.configure({ title: "A title" })).toEqual({ ...told.configure_session, mode: null, options: {} });
});

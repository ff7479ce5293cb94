import { afterEach, expect, test } from "vitest";
import { limits, wordsOf, type AgentFactsTold, type ContentPart, type VerbInput } from "@sessiond/shared";
import { bindingDigest } from "../../packages/daemon/src/agents/agent.ts";
import { endRigs, eventsOf, promptId, Rig, type TestSeat } from "../support/session-rig.ts";

/** What agents of other makers bring: modes and options of their own, answers of their own, parts that are no text. */
afterEach(endRigs);

type Settings = Omit<VerbInput<"configure_session">, "session_id">;
const configure = (seat: TestSeat, settings: Settings) => seat.rig.daemon.call("configure_session", { session_id: seat.rig.sessionId, ...settings }, seat.auth);
const send = (seat: TestSeat, parts: ContentPart[]) =>
  seat.rig.daemon.call("send_prompt", { session_id: seat.rig.sessionId, prompt_id: promptId(), parts, when_busy: "queue" }, seat.auth);

/** As it is shown when all that was decided is on disk. */
const infoNow = async (seat: TestSeat) => {
  await configure(seat, {});
  return seat.rig.info();
};

const told: AgentFactsTold = {
  mode: "ask",
  modes: [
    { id: "ask", name: "Ask" },
    { id: "plan", name: "Plan", description: "changes nothing" },
  ],
  options: [
    {
      type: "select",
      id: "effort",
      name: "Effort",
      value: "low",
      choices: [
        { id: "low", name: "Low" },
        { id: "high", name: "High" },
      ],
    },
    { type: "boolean", id: "web", name: "Web", value: false },
  ],
};

/** A session whose agent has told what it has. */
async function ready() {
  const rig = await Rig.start();
  const driver = await rig.driver();
  await driver.prompt("work");
  const turn = await rig.kind.turn();
  turn.context.tell({ type: "agent_facts", facts: told });
  return { rig, driver, turn };
}

test("B44 the agent's mode and options are set together, are told to everybody, and outlive a crash", async () => {
  const { rig, driver, turn } = await ready();
  expect(await configure(driver, { mode: "plan", options: { effort: "high" } })).toMatchObject({ mode: "plan", options: { effort: "high", web: false } });
  expect(turn.context.chosen()).toMatchObject({ mode: "plan", options: { effort: "high" } });
  expect(eventsOf(await rig.journal(), "session_configured")).toMatchObject([{ mode: "plan", options: { effort: "high" } }]);
  const after = await (await rig.crash()).info();
  expect([after.agent_facts.mode, after.chosen]).toEqual(["plan", { title: false, mode: "plan", options: { effort: "high" } }]);
});

test("B44 a mode, an option or a value that the agent has not changes nothing, and the error names those that there are", async () => {
  const { rig, driver } = await ready();
  const before = await rig.lines();
  const refused = (settings: Settings, words: RegExp) =>
    expect(configure(driver, { title: "new", ...settings })).rejects.toMatchObject({ code: "unsupported", message: expect.stringMatching(words) as string });
  await refused({ mode: "yolo" }, /no mode "yolo"; there are ask, plan/);
  await refused({ options: { effort: "high", colour: "red" } }, /no option "colour"; there are effort, web/);
  await refused({ options: { effort: "huge" } }, /no value of effort "huge"; there are low, high/);
  await refused({ options: { web: true, effort: "huge" } }, /no value of effort/);
  await refused({ options: { web: "yes" } }, /no value of web "yes"; there are true, false/);
  expect(await rig.lines()).toEqual(before);
});

test("B44 before an agent has run nothing of its own can be set, and the error says why", async () => {
  const rig = await Rig.start();
  await expect(configure(await rig.driver(), { mode: "plan" })).rejects.toMatchObject({
    code: "unsupported",
    message: expect.stringContaining("it has told of none") as string,
  });
});

test("what the agent tells counts: a choice that it did not follow is none any more", async () => {
  const { driver, turn } = await ready();
  await configure(driver, { mode: "plan", options: { effort: "high", web: true } });
  turn.context.tell({ type: "agent_facts", facts: { mode: "ask" } });
  turn.context.tell({
    type: "agent_facts",
    facts: { options: (told.options ?? []).map((option) => (option.type === "boolean" ? { ...option, value: true } : option)) },
  });
  expect(turn.context.chosen()).toMatchObject({ mode: null, options: { web: true } });
  expect((await infoNow(driver)).agent_facts.mode).toBe("ask");
});

test("a title by the agent stands until people give one, and comes back when they take theirs away", async () => {
  const { driver, turn } = await ready();
  const titled = async (title: string) => {
    turn.context.tell({ type: "agent_facts", facts: { title } });
    return (await infoNow(driver)).title;
  };
  expect(await titled("of the agent")).toBe("of the agent");
  await configure(driver, { title: "ours" });
  expect(await titled("again")).toBe("ours");
  await configure(driver, { title: null });
  expect(await titled("at last")).toBe("at last");
});

test("B25 B26 an agent's own answers are shown as it gave them; one of a kind that nobody knows is no leave, and the agent is told which it was", async () => {
  const { driver, turn } = await ready();
  const options = [
    { option_id: "allow_once", kind: "allow_once", label: "Go on", remembers: null },
    { option_id: "other", kind: "other", label: "Ask my manager", remembers: null },
    { option_id: "reject_once", kind: "reject_once", label: "No", remembers: null },
  ] as const;
  const input = { command: "make" };
  const ask = (id: string) => turn.ask(id, input, "make", { options });
  await turn.call("c1", input);
  const first = ask("c1");
  const shown = (await driver.event("approval_requested")).approval;
  expect([shown.options, shown.digest]).toEqual([options, bindingDigest("shell", input)]);
  await driver.approve(shown, "other");
  expect(await first).toMatchObject({ allowed: false, optionId: "other", cause: "answer" });
  await turn.call("c2", input);
  const second = ask("c2");
  const open = (await infoNow(driver)).approvals[0];
  await driver.approve(open as NonNullable<typeof open>, "allow_once");
  expect(await second).toMatchObject({ allowed: true, optionId: "allow_once" });
});

test("B20 a picture, a text and a link go with a prompt, through the queue and a crash; in the transcript they are words", async () => {
  const { rig, driver } = await ready();
  const parts: ContentPart[] = [
    { type: "text", text: "what is this?" },
    { type: "image", mime_type: "image/png", data: Buffer.alloc(3_000).toString("base64") },
    { type: "resource", uri: "file:///w/a.ts", mime_type: "text/x-typescript", text: "let a;" },
    { type: "resource_link", uri: "file:///w/b.ts", name: "b.ts" },
  ];
  await send(driver, parts);
  const after = await rig.crash();
  expect((await after.info()).queue[0]?.parts).toEqual(parts);
  expect(wordsOf(parts)).toBe("what is this?\n[image/png, 3 kB]\n[file:///w/a.ts]\nlet a;\n[b.ts](file:///w/b.ts)");
});

test("B20 a part that is none, and pictures beyond the limit, are refused whole", async () => {
  const { rig, driver } = await ready();
  const before = await rig.lines();
  const image = (data: string, mime_type = "image/png"): ContentPart => ({ type: "image", mime_type, data });
  const half = "A".repeat(limits.prompt_images_bytes_max / 2);
  await expect(send(driver, [image(half), image(half), image("AAAA")])).rejects.toMatchObject({
    code: "limit_reached",
    detail: { limit: "prompt_images_bytes_max", unit: "bytes" },
  });
  for (const part of [image("not base64!"), image(""), image("AAAA", "text/html"), { type: "audio", data: "AAAA" } as unknown as ContentPart])
    await expect(send(driver, [{ type: "text", text: "look" }, part])).rejects.toMatchObject({ code: "bad_request" });
  expect(await rig.lines()).toEqual(before);
});

/** Commands on a session whose agent is another maker's: modes and options, its own answers, files and pictures. The built command on a daemon in this process, with an agent that the test plays. */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { limits, type AgentFactsTold, type AgentInfo, type ApprovalOption, type ContentPart } from "@sessiond/shared";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { AgentKind } from "../../packages/daemon/src/agents/agent.ts";
import { startTestDaemon, testEnv, testRoot } from "../../packages/daemon/src/testing.ts";
import { CommandHouse, jsonLines, type Outcome } from "../support/command.ts";
import { endRigs, Rig } from "../support/session-rig.ts";
import type { ScriptedTurn } from "../support/scripted-agent.ts";

const house = new CommandHouse();
let rig: Rig;
beforeAll(async () => {
  rig = await Rig.start();
  Object.assign(house.env, testEnv(rig.daemon.root));
});
afterAll(async () => {
  // First the daemon: it is in this process, and `down` would wait for that to end.
  await endRigs();
  await house.close();
});
beforeEach(() => {
  delete house.env["NO_COLOR"];
});

const run = (...args: readonly string[]): Promise<Outcome> => house.run(rig.workdir, ...args);
const file = (name: string, content: string | Buffer): string => {
  const path = join(rig.workdir, name);
  writeFileSync(path, content);
  return path;
};
/** A turn that the command began, and what went into it. */
async function turnOf(...args: readonly string[]): Promise<{ turn: ScriptedTurn; parts: readonly ContentPart[]; outcome: Promise<Outcome> }> {
  const outcome = run(...args);
  const turn = await rig.kind.turn();
  return { turn, parts: turn.parts ?? [], outcome };
}
async function told(facts: AgentFactsTold): Promise<void> {
  const { turn, outcome } = await turnOf("send", "tell");
  turn.context.tell({ type: "agent_facts", facts });
  await turn.yield({
    type: "plan",
    entries: [
      { content: "read", priority: "medium", status: "completed" },
      { content: "write", priority: "high", status: "in_progress" },
    ],
  });
  turn.end();
  expect((await outcome).code).toBe(0);
  expect((await run("wait")).code).toBe(0);
}
const option = (option_id: string, kind: ApprovalOption["kind"], label: string): ApprovalOption => ({ option_id, kind, label, remembers: null });

test("set and info before the agent ran: there is nothing to set yet, and it says when there will be", async () => {
  for (const args of [
    ["--mode", "plan"],
    ["--option", "effort=high"],
  ]) {
    const { code, stderr } = await run("set", ...args);
    expect([code, stderr]).toEqual([2, expect.stringContaining("an agent tells when it first runs") as string]);
  }
  expect((await run("info")).stdout).not.toMatch(/^(mode|options|plan|context)/m);
});

test("B44 set takes the agent's modes and options, by id or by name, and info shows them with what else the agent told", async () => {
  await told({
    mode: "ask",
    modes: [
      { id: "ask", name: "Ask first" },
      { id: "plan", name: "Plan only" },
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
      { type: "boolean", id: "web", name: "Web search", value: false },
    ],
    commands: [{ name: "init", description: "begin" }],
    use: { used: 12_000, size: 200_000, cost: { amount: 0.416, currency: "USD" } },
  });
  const set = await run("set", "--mode", "Plan Only", "--option", "effort=high", "--option", "web=on");
  expect([set.code, set.stderr]).toEqual([0, ""]);
  expect(set.stdout).toMatch(/^mode +plan \(Plan only\)\noptions +effort = high\n +web = true\n$/m);
  expect(jsonLines((await run("set", "--option", "web=off", "--json")).stdout)).toMatchObject([{ mode: "plan", options: { effort: "high", web: false } }]);
  const { stdout } = await run("info");
  expect(stdout).toMatch(/^mode +plan \(Plan only\) {2}\(ask, plan\)$/m);
  expect(stdout).toMatch(/^options +effort = high {2}\(low, high\)\n +web = false {2}\(true, false\)$/m);
  expect(stdout).toMatch(/^commands +\/init$/m);
  expect(stdout).toMatch(/^plan +1 of 2 done; write \(high\)$/m);
  expect(stdout).toMatch(/^context +12,000 of 200,000 tokens, 6 %; 0\.42 USD so far$/m);
});

test("B44 a mode, an option or a value that the agent has not: nothing is changed, and what there is is listed", async () => {
  const before = jsonLines((await run("info", "--json")).stdout)[0];
  const wrong: readonly (readonly [args: string[], words: string])[] = [
    [["--mode", "fly"], "The agent has no mode `fly`. There are: ask (Ask first), plan (Plan only)."],
    [["--option", "speed=9"], "The agent has no option `speed`. There are: effort, web (Web search)."],
    [["--option", "effort=most"], "The agent has no value of effort `most`. There are: low, high."],
    [["--option", "web=perhaps"], "web is on or off, not `perhaps`."],
    [["--option", "effort"], "`effort` is no setting; write --option name=value. There are: effort, web (Web search)."],
    [["--star", "--mode", "fly"], "The agent has no mode `fly`."],
  ];
  for (const [args, words] of wrong) {
    const { code, stderr } = await run("set", ...args);
    expect([args, code, stderr]).toEqual([args, 2, expect.stringContaining(`sessiond: ${words}`) as string]);
  }
  const after = jsonLines((await run("info", "--json")).stdout)[0];
  expect([after?.["agent_facts"], after?.["starred"]]).toEqual([before?.["agent_facts"], false]);
});

test("B25 approve answers by the id, kind or label of an agent's own option; a wrong one names those there are, and answers nothing", async () => {
  const options = [option("allow_always", "allow_always", "Always"), option("other", "other", "Ask my colleague"), option("other_2", "other", "Later")];
  for (const [named, wanted] of [
    ["other_2", "other_2"],
    ["other", "other"],
    ["Later", "other_2"],
    ["allow_always", "allow_always"],
  ] as const) {
    const { turn, outcome } = await turnOf("send", "ask me");
    await turn.call("c1");
    const answer = turn.ask("c1", { command: "true" }, "$ true", { options });
    await outcome;
    expect((await run("wait", "approval")).code).toBe(0);
    // Nothing of it is a plain yes or no.
    for (const [args, code] of [
      [["--yes"], 3],
      [["--reject"], 3],
      [["--option", "allow_once"], 2],
    ] as const) {
      const refused = await run("approve", ...args);
      expect([refused.code, refused.stderr]).toEqual([
        code,
        expect.stringContaining("it offers: allow_always (Always), other (Ask my colleague), other_2 (Later)") as string,
      ]);
    }
    expect((await run("approve", "--option", "other", "--reject")).code).toBe(2);
    const { code, stdout } = await run("approve", "--option", named);
    expect([code, stdout]).toEqual([0, expect.stringContaining(wanted === "allow_always" ? "  allowed" : "  answered “") as string]);
    expect(await answer).toMatchObject({ optionId: wanted, allowed: wanted === "allow_always" });
    turn.end();
    await run("wait");
  }
});

const png = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");

test("send and run take files and pictures along, as parts of the prompt that say what they are", async () => {
  const [log, shot, photo, anim, web] = [
    file("a log.txt", "one\ntwo\n"),
    file("shot.dat", png),
    file("photo", Buffer.from("ffd8ffe000104a46", "hex")),
    file("anim", "GIF89a…"),
    file("web", Buffer.from("524946461a000000574542505650384c", "hex")),
  ];
  const sent = await turnOf("send", "--file", log, "--image", shot, "what is this?");
  expect(sent.parts).toEqual([
    { type: "text", text: "what is this?" },
    { type: "resource", uri: `file://${rig.workdir}/a%20log.txt`, text: "one\ntwo\n" },
    { type: "image", mime_type: "image/png", data: png.toString("base64") },
  ]);
  sent.turn.end();
  await sent.outcome;
  await run("wait");
  const ran = await turnOf("run", "--image", photo, "--image", anim, "--image", web, "and these?");
  expect(ran.parts.map((part) => (part.type === "image" ? part.mime_type : part.type))).toEqual(["text", "image/jpeg", "image/gif", "image/webp"]);
  await ran.turn.say("fine");
  ran.turn.end();
  expect(await ran.outcome).toMatchObject({ code: 0, stdout: "fine\n" });
  const { stdout } = await run("attach");
  expect(stdout).toContain("[image/png, 1 kB]");
});

test("what cannot go with a prompt is told by its name, before anything is sent", async () => {
  execFileSync("mkfifo", [join(rig.workdir, "pipe")]);
  const turns = (jsonLines((await run("info", "--json")).stdout)[0] as { turns: number }).turns;
  const large = file("large.txt", "x".repeat(limits.prompt_bytes_max + 1));
  const almost = file("almost.txt", "x".repeat(limits.prompt_bytes_max - 100));
  const picture = file("large.png", Buffer.concat([png, Buffer.alloc(limits.prompt_images_bytes_max)]));
  const half = file("half.png", Buffer.concat([png, Buffer.alloc(limits.prompt_images_bytes_max / 2)]));
  const wrong: readonly (readonly [args: string[], words: string])[] = [
    [["--file", "nothing.txt"], "nothing.txt is not there"],
    [["--file", rig.workdir], "is a directory"],
    [["--file", join(rig.workdir, "pipe")], "is no plain file"],
    [["--file", file("empty", "")], "is empty"],
    [["--file", file("a.bin", Buffer.from([0xff, 0xfe, 0x00]))], "is no UTF-8 text"],
    [["--file", file("b.png", png)], "is a picture; --image takes it"],
    [["--file", large], "large.txt has 257 kB, and at most 256 kB are taken"],
    [["--file", almost, "--file", almost], "With its files the prompt has 512 kB, and at most 256 kB"],
    [["--image", file("text.png", "no picture")], "is no PNG, JPEG, GIF or WebP picture"],
    [["--image", picture], "large.png has 513 kB, and at most 384 kB are taken. Scale a picture down"],
    [["--image", half, "--image", half], "at most 512 kB are taken"],
    [Array.from({ length: limits.prompt_parts_max }, () => ["--file", file("small.txt", "x")]).flat(), "A prompt takes 31 files and pictures at most"],
  ];
  for (const [args, words] of wrong)
    for (const command of ["send", "run"]) {
      const { code, stderr } = await run(command, ...args, "look");
      expect([words, code, stderr]).toEqual([words, 2, expect.stringContaining(words) as string]);
    }
  expect(jsonLines((await run("info", "--json")).stdout)).toMatchObject([{ turns }]);
});

test("agents shows of which kind each is, its command, and what is missing", async () => {
  const info: AgentInfo = {
    name: "gemini",
    kind: "acp",
    default_model: "",
    models: null,
    modes: [],
    command: "/opt/bin/gemini",
    capabilities: { park: false, steer: false, images: true },
    unavailable: "gemini is not there. npm install -g @google/gemini-cli installs it.",
  };
  const kind: AgentKind = { name: "gemini", defaultModel: "", knowsModel: () => true, info: () => info, create: () => expect.unreachable() };
  const root = await testRoot();
  const daemon = await startTestDaemon({ root, kinds: [kind] });
  try {
    Object.assign(house.env, testEnv(root));
    const { code, stdout } = await run("agents");
    expect(code).toBe(0);
    expect(stdout).toMatch(/^AGENT +KIND +MODEL +MODELS +CAN +COMMAND\ngemini +ACP +- +the agent's own +images +\/opt\/bin\/gemini\n/);
    expect(stdout).toContain("! gemini: gemini is not there. npm install -g @google/gemini-cli installs it.\n");
    expect(jsonLines((await run("agents", "--json")).stdout)).toEqual([info]);
  } finally {
    Object.assign(house.env, testEnv(rig.daemon.root));
    await daemon.stop(0);
  }
});

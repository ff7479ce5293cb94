import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import type { DriverSeat } from "@sessiond/client";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DaemonHome } from "../support/daemon-home.ts";
import { eventually } from "../support/eventually.ts";
import { question, refusal, until } from "../support/served-house.ts";

/** examples/own-agent.mjs, as a process of its own, and real daemons: what each of them sees when the other is killed. */
const example = resolve(import.meta.dirname, "../../examples/own-agent.mjs");
const command = resolve(import.meta.dirname, "../../packages/cli/dist/sessiond.js");
let home: DaemonHome;
let children: ChildProcess[];
beforeEach(() => void ((home = new DaemonHome()), (children = [])));
afterEach(async () => {
  for (const child of children) child.kill("SIGKILL");
  await home.close();
});

/** Resolves when the agent is there. */
async function serve(): Promise<ChildProcess> {
  const child = spawn(process.execPath, [example], { env: { ...home.env, SESSIOND_BIN: resolve(command, "../daemon.js") }, stdio: ["ignore", "pipe", "pipe"] });
  children.push(child);
  let wrong = "";
  child.stderr?.on("data", (data) => (wrong += String(data)));
  await new Promise<void>((resolve, reject) => {
    if (child.stdout !== null) createInterface({ input: child.stdout }).once("line", () => resolve());
    child.once("exit", () => reject(new Error(`it does not serve: ${wrong}`)));
  });
  return child;
}

async function driver(): Promise<DriverSeat> {
  const host = await home.connect();
  return (await host.sessionForWorkdir(home.workdir, { agent: "echo" })).attach({ as: "driver" });
}

const written = (): string | null => (existsSync(join(home.workdir, "notes.txt")) ? readFileSync(join(home.workdir, "notes.txt"), "utf8") : null);
const events = (seat: DriverSeat) => home.journal(seat.sessionId).map(({ event }) => event);

/** Sent until its agent is there to take it. */
const prompted = (seat: DriverSeat, words: string) =>
  eventually("the prompt is taken", () =>
    seat.sendPrompt(words).catch(({ code }: { code: string }) => (code === "agent_unavailable" ? null : Promise.reject(new Error(code)))),
  );

test("the example repeats what it is told, and writes a file once that is allowed, and not where it is refused", async () => {
  await serve();
  const run = (words: readonly string[]) =>
    new Promise<{ code: number | null; out: string }>((done) => {
      const child = spawn(process.execPath, [command, "run", "--agent", "echo", ...words], {
        cwd: home.workdir,
        env: home.env,
        stdio: ["ignore", "pipe", "inherit"],
      });
      let out = "";
      child.stdout.on("data", (data) => (out += String(data)));
      child.once("close", (code) => done({ code, out }));
    });
  expect(await run(["hello"])).toEqual({ code: 0, out: expect.stringContaining("You said: hello") });
  const seat = await driver();
  const refused = seat.prompt("notes.txt: red");
  const first = await question(seat);
  expect(first).toMatchObject({ tool: "write", input: { path: "notes.txt", content: "red" }, preview: "notes.txt:\nred" });
  await seat.approve(first, { kind: "reject_once" });
  expect(await refused).toMatchObject({ stopReason: "end_turn" });
  expect(written()).toBeNull();
  const allowed = seat.prompt("notes.txt: green");
  await seat.approve(await question(seat), { kind: "allow_once" });
  expect(await allowed).toMatchObject({ stopReason: "end_turn", text: "Done." });
  expect(written()).toBe("green");
  expect(seat.state.files).toMatchObject([{ path: "notes.txt" }]);
});

test("B27 B45 the program is killed with its question open: the turn fails and says so, the question is closed, nothing is written; started again, it goes on", async () => {
  const program = await serve();
  const seat = await driver();
  const turn = seat.prompt("notes.txt: red");
  const { approval_id } = await question(seat);
  program.kill("SIGKILL");
  expect(await turn).toMatchObject({ stopReason: "failed", error: { code: "agent_unavailable", message: expect.stringContaining("agent echo has gone") } });
  expect(seat.state).toMatchObject({ approvals: [], turn: null, status: "error" });
  expect(events(seat)).toContainEqual({ type: "approval_resolved", approval_id, cause: "failed" });
  expect(await refusal(seat.sendPrompt("hello"))).toMatchObject({ code: "agent_unavailable" });
  await serve();
  expect(await seat.prompt("hello")).toMatchObject({ text: "You said: hello\n", stopReason: "end_turn" });
  expect(written()).toBeNull();
});

test("B36 B37 the daemon is killed in the middle of a turn: it ends as interrupted, its question too; the program offers itself again by itself, and prompts run", async () => {
  await serve();
  const seat = await driver();
  const turn = seat.prompt("notes.txt: red");
  const { approval_id } = await question(seat);
  await home.kill(await home.daemon());
  expect(await turn).toMatchObject({ stopReason: "interrupted" });
  await until(seat, () => seat.connection === "live");
  expect(seat.state).toMatchObject({ agent: "echo", approvals: [], turn: null });
  expect(events(seat)).toContainEqual({ type: "approval_resolved", approval_id, cause: "restart" });
  await prompted(seat, "notes.txt: green");
  await seat.approve(await question(seat), { kind: "allow_once" });
  await until(seat, () => seat.state.turn === null);
  expect(written()).toBe("green");
  expect(events(seat).filter(({ type }) => type === "turn_ended")).toMatchObject([{ stop_reason: "interrupted" }, { stop_reason: "end_turn" }]);
});

test("B40 told to go, the daemon cancels the turn; the next one that is started finds the program again", async () => {
  const program = await serve();
  const seat = await driver();
  const turn = seat.prompt("notes.txt: red");
  await question(seat);
  const pid = await home.daemon();
  const host = await home.connect();
  await host.shutDown({ waitMs: 0 });
  await home.gone(pid);
  await home.startByHand();
  expect(await turn).toMatchObject({ stopReason: "interrupted" });
  await prompted(seat, "hello");
  await until(seat, () => seat.state.turn === null && seat.state.messages.at(-1)?.text === "You said: hello\n");
  expect(program.exitCode).toBeNull();
});

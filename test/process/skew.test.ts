import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { DriverSeat, SessiondError } from "@sessiond/client";
import { stateFormat } from "@sessiond/shared";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { removeRoot, startTestDaemon } from "../../packages/daemon/src/testing.ts";
import { whole } from "../support/amount.ts";
import { buildIn, type Build, type Changes } from "../support/builds.ts";
import { DaemonHome, daemonFile } from "../support/daemon-home.ts";
import { eventually } from "../support/eventually.ts";
import { processesWith } from "../support/processes.ts";
import { SeenFrames } from "../support/seen-frames.ts";

/**
 * Builds of different age beside each other, each a real one: this tree's, and others made of it. What they can say to
 * each other they say; what they cannot is refused with words; and nobody harms what a newer one has made.
 */
vi.setConfig({ testTimeout: 120_000 });
const version = "packages/shared/src/version.ts";
const fair = '.default("fair")';

/** Speaks 1 and 2, and says more than this build knows: fields, an event, an error. */
const newer: Changes = {
  [version]: [
    [/version = "[^"]+"/, 'version = "0.2.0"'],
    ["{ min: 1, max: 1 }", "{ min: 1, max: 2 }"],
  ],
  "packages/shared/src/verbs.ts": [
    ["version: z.string(), boot_id: z.string(), limits:", `weather: z.string()${fair}, version: z.string(), boot_id: z.string(), limits:`],
    ["const started = z.strictObject({", `const started = z.strictObject({ weather: z.string()${fair},`],
  ],
  "packages/shared/src/events.ts": [
    ["export const eventTable = {", 'export const eventTable = {\n  weather_changed: event("weather_changed", { to: z.string() }, "It rains."),'],
    ['event("turn_ended", { ...inTurn,', `event("turn_ended", { ...inTurn, weather: z.string()${fair},`],
  ],
  "packages/shared/src/errors.ts": [
    [
      "export const errorTable = {",
      'export const errorTable = {\n  too_wet: { trpc: "CONFLICT", retry: "never", text: () => "It rains; wait until it is dry." },',
    ],
  ],
  "packages/daemon/src/session/session-log.ts": [
    ["    return frame.seq;", '    if (event.type === "turn_started") this.apply({ type: "weather_changed", to: "rain" } as never);\n    return frame.seq;'],
  ],
  "packages/daemon/src/verbs/list-tokens.ts": [
    [/^/, 'import { SessiondError } from "@sessiond/shared";\n'],
    [/async \([\s\S]*/, 'async () => {\n  throw new SessiondError("too_wet" as never);\n};'],
  ],
};

/** Speaks 1 no more, and writes files of another form. */
const far: Changes = {
  ...newer,
  "packages/daemon/src/verbs/list-tokens.ts": [],
  [version]: [
    [/version = "[^"]+"/, 'version = "9.0.0"'],
    ["{ min: 1, max: 1 }", "{ min: 2, max: 3 }"],
    [`stateFormat = ${stateFormat}`, `stateFormat = ${stateFormat + 1}`],
  ],
  "packages/daemon/src/host/registry-file.ts": [[/version: z\.literal\(1\)/g, "version: z.literal([1, 2])"]],
  "packages/daemon/src/host/registry.ts": [[/version: 1,/g, "version: 2,"]],
  "packages/daemon/src/host/session-file.ts": [["version: z.literal(1)", "version: z.literal([1, 2])"]],
  "packages/daemon/src/host/store.ts": [["version: 1,\n      session_id", "version: 2,\n      session_id"]],
};

/** Lacks a verb that this build's command has. */
const earlier: Changes = {
  [version]: [[/version = "[^"]+"/, 'version = "0.0.9"']],
  "packages/shared/src/verbs.ts": [["  list_agents: {", "  list_agents_one_day: {"]],
};

const builds = mkdtempSync(join(tmpdir(), "ssd-builds-"));
const built: Record<string, Build> = {};
const now: Build = { command: daemonFile.replace("daemon.js", "sessiond.js"), daemon: daemonFile };
beforeAll(async () => {
  for (const [name, changes] of Object.entries({ newer, far, earlier })) {
    mkdirSync(join(builds, name));
    built[name] = await buildIn(join(builds, name), changes);
  }
}, 120_000);
afterAll(() => rmSync(builds, { recursive: true, force: true }));
const of = (name: "newer" | "far" | "earlier"): Build => built[name] ?? now;

let home: DaemonHome;
beforeEach(() => {
  home = new DaemonHome();
});
afterEach(async () => {
  for (const pid of daemons()) process.kill(pid, "SIGKILL");
  await eventually("all are gone", () => daemons().length === 0);
  await home.close();
});

/** Daemons of any build. */
const daemons = (): number[] =>
  processesWith(`XDG_STATE_HOME=${join(home.root, "state")}`)
    .filter(({ command }) => command.includes("daemon.js"))
    .map(({ pid }) => pid);

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

async function run({ command }: Build, ...args: readonly string[]): Promise<Outcome> {
  const child = spawn(process.execPath, [command, ...args], { cwd: home.workdir, env: home.env, stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise<number>((tell) => child.once("close", (code) => tell(code ?? -1)));
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  return { code: await ended, out, err };
}

/** A daemon of that build, started as by hand. @returns its pid */
async function up({ daemon }: Build): Promise<number> {
  const listened = home.logged("listening").length;
  const { pid } = spawn(process.execPath, [daemon], { env: home.env, stdio: "ignore", cwd: "/" });
  await eventually("it listens", () => home.logged("listening").length > listened);
  expect(daemons()).toEqual([pid]);
  return pid ?? 0;
}

const failure = (call: Promise<unknown>): Promise<SessiondError> =>
  call.then(
    () => Promise.reject(new Error("it did not fail")),
    (error: unknown) => error as SessiondError,
  );

/** The state directory's files by what is in them, but for its log and the words in its lock. */
function files(counts: (name: string) => boolean = (name) => !["daemon.log", "lock"].includes(name)): Map<string, string> {
  const names = readdirSync(home.stateDir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile() && counts(entry.name));
  return new Map(names.map(({ parentPath, name }) => [join(parentPath, name), readFileSync(join(parentPath, name), "utf8")]));
}

/** What only a verb or a turn changes. */
const kept = (name: string): boolean => /^(registry\.json|format\.json|journal.*)$/.test(name);

test("B41 a newer daemon that still speaks this protocol is used: fields, events and errors that this build does not know are taken as they come, and no frame is lost by them", async () => {
  await up(of("newer"));
  const host = await home.connect({ autoStart: false });
  expect(host.hello).toMatchObject({ protocol: 1, range: { min: 1, max: 2 }, version: "0.2.0" });
  const session = await host.sessionForWorkdir(home.workdir);
  const seat: DriverSeat = await session.attach({ as: "driver" });
  const seen = new SeenFrames(seat);
  const turn = await seat.prompt("say one");
  expect(turn.stopReason).toBe("end_turn");
  await seat.prompt("say two");
  await seen.until(({ turn: running }) => running === null);
  await eventually("its reader has had all", () => seen.texts.has(seat.state.seq));
  seen.check();
  const types = [...seen.texts.values()].map((each) => (JSON.parse(each) as { event: { type: string } }).event.type);
  expect(types.filter((type) => type === "weather_changed")).toHaveLength(2);
  expect(seat.state.seq).toBe(home.journal(session.id).at(-1)?.seq);
  // The state is the daemon's own, unknown events or not.
  expect((await session.info()).seq).toBe(seat.state.seq);
  const unknown = await failure(session.listTokens());
  expect(unknown).toMatchObject({ code: "internal", detail: { code: "too_wet" } });
  expect(unknown.message).toBe("The daemon refused with too_wet, which this version does not know: It rains; wait until it is dry. Update sessiond here.");
  await seat.detach();
  expect(await run(now, "run", "say three")).toMatchObject({ code: 0, out: expect.stringContaining("three") });
  for (const args of [["ls"], ["info"], ["status"]]) expect((await run(now, ...args)).err, args.join(" ")).not.toMatch(/bug|undefined|NaN/);
  const listed = await run(now, "token", "list");
  expect([listed.code, listed.err]).toEqual([1, `sessiond: ${unknown.message}\n`]);
  expect(home.logged("unexpected")).toEqual([]);
});

test("B41 a newer command that still speaks this daemon's protocol is served by it; a verb that an older daemon has not is named, and what to do", async () => {
  const pid = await up(now);
  expect(await run(of("newer"), "run", "say one")).toMatchObject({ code: 0, out: expect.stringContaining("one") });
  expect(daemons()).toEqual([pid]);
  expect(await run(of("newer"), "down")).toMatchObject({ code: 0, out: `down, pid ${pid} is gone\n` });
  await up(of("earlier"));
  const agents = await run(now, "agents");
  expect([agents.code, agents.out, agents.err]).toEqual([1, "", "sessiond: This daemon has no verb list_agents. Update sessiond, or the client.\n"]);
});

test("B41 an older client never harms a daemon that is too new for it: it is refused with words, and nothing is ended, started or changed", async () => {
  const pid = await up(of("far"));
  expect(await run(of("far"), "run", "say one")).toMatchObject({ code: 0 });
  const before = files(kept);
  const words =
    "Client and daemon share no protocol version (client 1, daemon 2-3 of sessiond 9.0.0). Update the older one, which is this client; the daemon stays as it is.";
  for (const args of whole ? [["run", "say two"], ["up"], ["status"], ["down"]] : [["run", "say two"], ["down"]])
    expect(await run(now, ...args), args.join(" ")).toEqual({ code: 1, out: "", err: `sessiond: ${words}\n` });
  const error = await failure(home.connect());
  expect(error).toMatchObject({ code: "protocol_mismatch", retry: "never", message: words, detail: { client: "1", daemon: "2-3", daemon_version: "9.0.0" } });
  expect(daemons()).toEqual([pid]);
  expect(files(kept)).toEqual(before);
  expect(home.logged("listening")).toHaveLength(1);
  expect((await run(of("far"), "run", "say two")).code).toBe(0);
});

test("B41 a newer command refuses an older daemon with words, and does what they say: `down` ends it, and the next command goes on with its sessions", async () => {
  const pid = await up(now);
  expect((await run(now, "run", "say one")).code).toBe(0);
  const words =
    "Client and daemon share no protocol version (client 2-3, daemon 1 of sessiond 0.1.0). Update the older one, which is the daemon: `sessiond down` ends it, and the next command starts the newer one.";
  for (const args of whole ? [["run", "say two"], ["up"], ["status"]] : [["run", "say two"]])
    expect(await run(of("far"), ...args), args.join(" ")).toEqual({ code: 1, out: "", err: `sessiond: ${words}\n` });
  expect(daemons()).toEqual([pid]);
  expect(await run(of("far"), "down")).toMatchObject({ code: 0, out: `down, pid ${pid} is gone\n`, err: "" });
  expect(daemons()).toEqual([]);
  expect(await run(of("far"), "run", "say two")).toMatchObject({ code: 0, out: expect.stringContaining("two") });
  const [session, ...others] = (await run(of("far"), "ls", "--json")).out.trim().split("\n");
  expect(others).toEqual([]);
  const { session_id } = JSON.parse(session ?? "") as { session_id: string };
  const said = home.journalText(session_id);
  expect([said.includes("say one"), said.includes("say two")]).toEqual([true, true]);
});

test("B12 B41 a state directory of a newer daemon is left alone by an older one, which says so and does not start; forth and back nothing is lost", async () => {
  await up(of("far"));
  expect((await run(of("far"), "run", "say one")).code).toBe(0);
  expect((await run(of("far"), "token", "mint", "--control")).code).toBe(0);
  expect((await run(of("far"), "down")).code).toBe(0);
  const before = files();
  expect(JSON.parse(readFileSync(join(home.stateDir, "format.json"), "utf8"))).toEqual({ format: stateFormat + 1, written_by: "9.0.0" });
  const words = `In conflict with what is there: ${home.stateDir} belongs to a newer sessiond (9.0.0, form ${stateFormat + 1}; this is 0.1.0 and knows form ${stateFormat}), so this one leaves it alone. Update it, or start the newer one.`;
  const refused = await run(now, "run", "say two");
  expect(refused).toEqual({ code: 4, out: "", err: expect.stringContaining(words) });
  const foreground = await run(now, "up", "--foreground");
  expect(foreground).toMatchObject({ code: 1, err: expect.stringContaining(`sessiond: ${words}\n`) });
  expect(files()).toEqual(before);
  expect(daemons()).toEqual([]);
  // The newer one again: the session, its conversation, and the token that was given away.
  expect(await run(of("far"), "run", "say three")).toMatchObject({ code: 0 });
  const [session = "{}", ...others] = (await run(of("far"), "ls", "--json")).out.trim().split("\n");
  expect(others).toEqual([]);
  const { session_id } = JSON.parse(session) as { session_id: string };
  const said = home.journalText(session_id);
  expect(["say one", "say two", "say three"].map((each) => said.includes(each))).toEqual([true, false, true]);
  expect((await run(of("far"), "token", "list")).out).toContain("minted by hand");
  expect(home.logged("unexpected")).toEqual([]);
});

test("B12 a form of the state directory that cannot be read is set aside and reported, and counts as one that is known", async () => {
  const daemon = await startTestDaemon();
  const path = join(daemon.root, "state/sessiond/format.json");
  await daemon.stop(0);
  writeFileSync(path, "{]");
  const again = await startTestDaemon({ root: daemon.root });
  const { set_aside } = await again.call("daemon_status", {}, { host_key: again.hostKey });
  await again.stop(0);
  expect(set_aside).toMatchObject([{ path: expect.stringContaining("format.json.unreadable-"), reason: expect.stringContaining("form cannot be read") }]);
  expect(readFileSync(set_aside[0]?.path ?? "", "utf8")).toBe("{]");
  expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({ format: stateFormat });
  await removeRoot(daemon.root);
});

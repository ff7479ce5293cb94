import { appendFileSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { VerifiedSession } from "@sessiond/shared";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { amount } from "../support/amount.ts";
import { seededChance } from "../support/chance.ts";
import { DaemonHome } from "../support/daemon-home.ts";
import { eventually } from "../support/eventually.ts";
import { kinds, Wreck, wrongs, type Verified } from "../support/wreck.ts";

/** `sessiond verify` on what real daemons wrote and somebody then damaged; then the next start, and that the session works. */
let base: DaemonHome;
/** Of the base: one session a directory, in the order in which they were made. */
let ids: string[];
let workdirs: string[];
const homes: Wreck[] = [];

/** @returns where it must be found */
type Damage = (home: Wreck, id: string) => { line?: number; offset?: number } | void;
const lines = (change: (row: string[]) => string[]) => (text: string) => `${change(text.split("\n").slice(0, -1)).join("\n")}\n`;
const journal = (home: Wreck, id: string, change: (text: string) => string): void => home.edit(change, "sessions", id, "journal");
const offsetOf = (home: Wreck, id: string, line: number): number => {
  const before = readFileSync(home.path("sessions", id, "journal"), "latin1")
    .split("\n")
    .slice(0, line - 1);
  return before.reduce((sum, each) => sum + each.length + 1, 0);
};

const damages: readonly [how: string, found: readonly string[], damage: Damage][] = [
  [
    "garbage in the middle",
    ["line_malformed"],
    (home, id) => {
      journal(
        home,
        id,
        lines((row) => row.toSpliced(7, 1, "\u00ff garbage {")),
      );
      return { line: 8, offset: offsetOf(home, id, 8) };
    },
  ],
  [
    "a frame cut out",
    ["seq_hole"],
    (home, id) => {
      journal(
        home,
        id,
        lines((row) => row.toSpliced(5, 1)),
      );
      return { line: 6, offset: offsetOf(home, id, 6) };
    },
  ],
  [
    "a frame twice",
    ["seq_hole"],
    (home, id) =>
      journal(
        home,
        id,
        lines((row) => row.toSpliced(5, 0, row[5] ?? "")),
      ),
  ],
  [
    "an epoch that never was",
    ["epoch_wrong"],
    (home, id) => {
      journal(
        home,
        id,
        lines((row) => row.toSpliced(6, 0, '{"epoch":7,"after":5,"at":1}')),
      );
      return { line: 7, offset: offsetOf(home, id, 7) };
    },
  ],
  [
    "a frame that is none of its kind",
    ["frame_invalid"],
    (home, id) => journal(home, id, (text) => text.replace('"stop_reason":"end_turn"', '"stop_reason":"because"')),
  ],
  ["bytes that are no text", ["frame_invalid"], (home, id) => journal(home, id, (text) => text.replace("first", "fi\u00fft"))],
  ["an empty journal", ["journal_missing"], (home, id) => truncateSync(home.path("sessions", id, "journal"))],
  ["no journal", ["journal_missing"], (home, id) => rmSync(home.path("sessions", id, "journal"))],
  ["no session.json", ["session_file"], (home, id) => rmSync(home.path("sessions", id, "session.json"))],
  ["half a session.json", ["session_file"], (home, id) => home.edit((text) => text.slice(0, text.length / 2), "sessions", id, "session.json")],
  [
    "another session's session.json",
    ["session_file"],
    (home, id) => cpSync(home.path("sessions", ids[0] ?? "", "session.json"), home.path("sessions", id, "session.json")),
  ],
  ["no folder", ["entry_without_folder"], (home, id) => rmSync(home.path("sessions", id), { recursive: true })],
  [
    "a registry that says that its life is over",
    ["entry_differs"],
    (home, id) => {
      rmSync(home.path("open", id));
      home.edit((text) => text.replace(new RegExp(`("id":"${id}"[^}]*"stopped":)false`), "$1true"), "registry.json");
    },
  ],
];
/** Those that nobody damages. */
const sound = 2;

beforeAll(async () => {
  base = new Wreck();
  const host = await base.connect();
  workdirs = Array.from({ length: sound + damages.length }, (_, index) => join(base.root, `directory-${index}`));
  ids = [];
  for (const workdir of workdirs) {
    mkdirSync(workdir);
    const session = await host.sessionForWorkdir(workdir);
    const seat = await session.attach({ as: "driver" });
    for (const words of ["say first words", "say and some more"]) await seat.prompt(words);
    ids.push(session.id);
    await seat.detach();
  }
  await host.close();
  await base.kill(await base.daemon());
}, 240_000);
afterEach(async () => {
  for (const home of homes.splice(0)) await home.close();
});
afterAll(async () => {
  await base.close();
  console.log(`B12 B36: ${damages.length} kinds of damage, each found; verify after ${kills} kills: ${torn} unfinished last lines, none called damage`);
});

function wreck(): Wreck {
  const home = Wreck.of(base);
  homes.push(home);
  return home;
}
const id = (): string => ids[1] ?? "";
const of = (verified: Verified, session: string): VerifiedSession | undefined => verified.sessions.find(({ session_id }) => session_id === session);

/** Each directory has a session that takes a prompt and ends it. */
async function work(home: Wreck, directories: readonly string[] = workdirs.slice(0, sound)): Promise<void> {
  const host = await home.connect();
  for (const workdir of directories) {
    const seat = await (await host.sessionForWorkdir(workdir, { model: "practice" })).attach({ as: "driver", force: true });
    expect((await seat.prompt("say still here")).text).toBe("still here");
    await seat.detach();
  }
  await host.close();
}

test("B12 verify says of sessions that a daemon left by kill -9 that they are whole; of one by its id, its beginning or its directory", async () => {
  const home = wreck();
  rmSync(home.path("lock"));
  const all = await home.verify();
  expect(all).toMatchObject({ code: 0, whole: true, findings: [] });
  expect(all.sessions.map(({ session_id }) => session_id).toSorted()).toEqual(ids.toSorted());
  for (const session of all.sessions) {
    expect(session).toMatchObject({ whole: true, segments: 1, compacted_through: 0, findings: [] });
    expect(session.frames).toBe(base.journal(session.session_id).length);
  }
  const three = await home.verify(id(), (ids[0] ?? "").slice(0, 12), (ids[2] ?? "").slice(4, 14), join(workdirs[3] ?? "", "."));
  expect(three.sessions.map(({ session_id }) => session_id)).toEqual([ids[1], ids[0], ids[2], ids[3]]);
  const text = await home.run("verify", id());
  expect(text.stdout).toMatch(/^ok +ses_\w{8} +\d+ frames, 1 segment, \d+ kB +.*directory-1\n1 session, all whole\n$/);
  for (const name of ["ses_nobody", "ses_"]) expect(await home.run("verify", name)).toMatchObject({ code: 2, stdout: "" });
  // It takes no lock, for that would turn away a daemon that starts, and starts none.
  expect([existsSync(home.path("lock")), existsSync(home.runtimeDir), home.daemons()]).toEqual([false, false, []]);
}, 240_000);

test(`B12 verify finds each of ${damages.length} kinds of damage, says where, and changes nothing; then a start does what it said, and every session works`, async () => {
  const home = wreck();
  const hurt = damages.map((damage, index) => ({ id: ids[sound + index] ?? "", damage }));
  const places = new Map(hurt.map(({ id: each, damage: [, , hit] }) => [each, hit(home, each)]));
  const before = filesOf(home);
  const verified = await home.verify();
  expect(filesOf(home)).toEqual(before);
  expect([verified.code, verified.whole, verified.findings]).toEqual([1, false, []]);
  expect(
    verified.sessions
      .filter(({ whole }) => whole)
      .map(({ session_id }) => session_id)
      .toSorted(),
  ).toEqual(ids.slice(0, sound).toSorted());
  for (const {
    id: each,
    damage: [how, found],
  } of hurt) {
    const { findings = [] } = of(verified, each) ?? {};
    expect(kinds(findings), how).toEqual(found);
    for (const { mend, path } of findings) expect([mend.length > 0, path?.startsWith(home.stateDir)], how).toEqual([true, true]);
    const place = places.get(each);
    if (place) expect(findings, how).toMatchObject([place]);
  }
  // A person sees the same.
  const text = await home.run("verify");
  expect(text).toMatchObject({ code: 1, stderr: "" });
  expect(text.stdout.match(/^damaged +ses_.*\n {2}! .*\n/gm)).toHaveLength(damages.length);
  expect(text.stdout).toContain(`${ids.length} sessions, ${damages.length} damaged\n`);
  await work(home, workdirs);
  // What a start takes as it is stays said; everything else is whole again.
  const after = await home.verify();
  for (const {
    id: each,
    damage: [how, found],
  } of hurt)
    expect(kinds(wrongs(of(after, each)?.findings ?? [])), how).toEqual(found[0] === "frame_invalid" ? found : []);
  for (const {
    id: each,
    damage: [how],
  } of hurt) {
    const said = of(verified, each)?.findings.some(({ next_start = "" }) => next_start.includes("is kept as")) === true;
    expect(
      of(after, each)?.findings.some(({ kind }) => kind === "set_aside"),
      how,
    ).toBe(said);
  }
  expect(home.logged("uncaught")).toEqual([]);
}, 240_000);

test("B12 a line that cannot be read says how many frames lie behind it, and the start keeps the whole file as it said", async () => {
  const home = wreck();
  const frames = base.journal(id()).length;
  journal(
    home,
    id(),
    lines((row) => row.toSpliced(7, 1, "garbage")),
  );
  const bytes = readFileSync(home.path("sessions", id(), "journal"));
  const finding = (await home.verify(id())).sessions[0]?.findings[0];
  expect(finding?.what).toContain(`${frames - 7} frames behind it cannot be used`);
  expect(finding?.next_start).toContain("journal.damaged-");
  await work(home);
  const kept = readdirSync(home.path("sessions", id())).filter((name) => name.includes(".damaged-"));
  expect(kept).toHaveLength(1);
  expect(readFileSync(home.path("sessions", id(), kept[0] ?? ""))).toEqual(bytes);
  const { sessions } = await home.verify(id());
  expect(sessions[0]).toMatchObject({ whole: true, findings: [{ kind: "set_aside", weight: "note" }] });
}, 240_000);

test("B36 an unfinished last line is told as what a start cuts off, and is no damage", async () => {
  const home = wreck();
  appendFileSync(home.path("sessions", id(), "journal"), '{"seq":100,"at":17952');
  const { code, sessions } = await home.verify(id());
  expect([code, sessions]).toMatchObject([0, [{ whole: true, findings: [{ kind: "line_torn", weight: "note", next_start: "it is cut off" }] }]]);
  await work(home);
  expect((await home.verify(id())).sessions[0]).toMatchObject({ whole: true, findings: [] });
}, 240_000);

const registries: readonly [how: string, damage: (home: Wreck) => void][] = [
  ["cut short", (home) => home.edit((text) => text.slice(0, text.length / 2), "registry.json")],
  ["gone", (home) => rmSync(home.path("registry.json"))],
  ["of another version", (home) => home.edit((text) => text.replace('"version":1', '"version":9'), "registry.json")],
];
test("B12 a registry that is cut short, gone or of another version is found, the sessions are read from their folders, and the start makes it anew", async () => {
  for (const [how, damage] of registries.slice(0, amount(1, 3))) {
    const home = wreck();
    damage(home);
    const { code, whole, findings, sessions } = await home.verify();
    expect([code, whole, kinds(findings)], how).toEqual([1, false, ["registry"]]);
    expect(sessions.filter((session) => session.whole)).toHaveLength(ids.length);
    expect((await home.run("verify")).stdout).toContain(`${ids.length} sessions, each whole by itself; see above`);
    await work(home);
    expect(await home.verify(), how).toMatchObject({ code: 0, whole: true });
  }
}, 240_000);

test("B12 API keys that cannot be read are found, with what the next start makes of them and what then is to be done", async () => {
  const home = wreck();
  writeFileSync(home.path("keys.json"), '{"version":1,"keys":[{}]}');
  const { code, whole, findings } = await home.verify();
  expect([code, whole, kinds(findings)]).toEqual([1, false, ["keys_file"]]);
  expect(findings[0]).toMatchObject({
    path: home.path("keys.json"),
    mend: expect.stringContaining("sessiond key create"),
    next_start: expect.stringContaining("none of them counts"),
  });
  writeFileSync(home.path("keys.json"), '{"version":1,"keys":[]}');
  expect(await home.verify()).toMatchObject({ code: 0, whole: true });
}, 240_000);

test("B12 B36 beside a daemon at work nothing is called damage, an append in the middle neither; and nobody is woken", async () => {
  const home = wreck();
  const host = await home.connect();
  const session = await host.sessionForWorkdir(workdirs[0] ?? "");
  const seat = await session.attach({ as: "driver", force: true });
  await host
    .session(id() as never)
    .interrupt()
    .catch(() => undefined);
  const resting = (await host.status()).sessions.resting;
  await seat.sendPrompt("stream 400000 every 1");
  let [rounds, frames] = [0, 0];
  while (rounds < amount(3, 40)) {
    const { code, whole, sessions } = await home.verify();
    expect([code, whole], JSON.stringify(sessions)).toEqual([0, true]);
    expect(sessions.flatMap((each) => each.findings)).toEqual([]);
    const read = sessions.find(({ session_id }) => session_id === session.id)?.frames ?? 0;
    expect(read).toBeGreaterThan(frames);
    frames = read;
    rounds += 1;
  }
  expect((await host.status()).sessions.resting).toBe(resting);
  await seat.interrupt();
  expect(home.daemons()).toHaveLength(1);
}, 240_000);

const kills = amount(3, 40, "SESSIOND_KILLS");
const seed = Number(process.env["SESSIOND_SEED"] ?? Date.now() % 1_000_000);
let torn = 0;
test(`B36 after kill -9 at ${kills} random points of a turn (seed ${seed}) verify says whole, and of an unfinished line that it will be cut off`, async () => {
  const home = wreck();
  const chance = seededChance(seed);
  for (let kill = 0; kill < kills; kill++) {
    const host = await home.connect();
    const seat = await (await host.sessionForWorkdir(workdirs[0] ?? "")).attach({ as: "driver", force: true });
    const from = seat.state.seq;
    await seat.sendPrompt("stream 400000 every 1");
    const upTo = from + 5 + chance.upTo(200);
    await eventually("so many frames are there", () => seat.state.seq >= upTo);
    const pid = await home.daemon();
    void host.close();
    await home.kill(pid);
    const { code, sessions } = await home.verify();
    expect(code, JSON.stringify(sessions)).toBe(0);
    torn += sessions.flatMap((each) => each.findings).filter(({ kind }) => kind === "line_torn").length;
  }
  await work(home);
}, 900_000);

test("B12 a journal of many megabytes is read in bounded memory", async () => {
  const home = wreck();
  const path = home.path("sessions", id(), "journal");
  const turn = base.journal(id()).findLast(({ event }) => event.type === "agent_message_chunk");
  const frame = JSON.parse(turn?.text ?? "{}") as { seq: number; event: { content: { text: string } } };
  let { seq } = base.journal(id()).at(-1) ?? { seq: 0 };
  const megabytes = amount(8, 100);
  for (let part = 0; part < megabytes; part++) {
    let text = "";
    while (text.length < 1_000_000) {
      frame.seq = ++seq;
      frame.event.content.text = `${seq} ${"word ".repeat(200)}`;
      text += `${JSON.stringify(frame)}\n`;
    }
    appendFileSync(path, text);
  }
  // Each process tells its largest size where it ends.
  const sizes = join(home.root, "sizes");
  const tell = join(home.root, "tell-size.mjs");
  writeFileSync(
    tell,
    `import { appendFileSync } from "node:fs"; process.on("exit", () => appendFileSync(${JSON.stringify(sizes)}, \`\${process.argv[2]} \${Math.round(process.resourceUsage().maxRSS / 1024)}\\n\`));`,
  );
  home.env["NODE_OPTIONS"] = `--import=${tell}`;
  const small = await home.verify(ids[0] ?? "");
  const large = await home.verify(id());
  delete home.env["NODE_OPTIONS"];
  expect([small.code, large.code]).toEqual([0, 0]);
  expect(large.sessions[0]?.frames).toBe(seq);
  const of = readFileSync(sizes, "utf8")
    .split("\n")
    .flatMap((line) => (line.startsWith("verify ") ? [Number(line.slice(7))] : []));
  expect(of).toHaveLength(4);
  console.log(`B12: verify of ${megabytes} MB takes at most ${Math.max(...of)} MB, of a few kB ${Math.min(...of)} MB`);
  expect(Math.max(...of) - Math.min(...of)).toBeLessThan(150);
}, 900_000);

/** Every file below the state directory with its bytes. */
function filesOf(home: Wreck): Record<string, string> {
  const names = readdirSync(home.stateDir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(names.map((entry) => [join(entry.parentPath, entry.name), readFileSync(join(entry.parentPath, entry.name), "latin1")]));
}

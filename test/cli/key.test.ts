/** `sessiond key`, and commands on a daemon elsewhere: over TCP, from a house that knows nothing of the owner's. The built command, as processes. */
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatToken } from "@sessiond/shared";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { whole } from "../support/amount.ts";
import { CommandHouse, jsonLines, type Outcome } from "../support/command.ts";
import { FalseDaemon } from "../support/false-daemon.ts";

// Each command is a process; a busy machine takes a second for one.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });
const owner = new CommandHouse();
const away = new CommandHouse();
const project = owner.workdir("project");
let url = "";
beforeAll(async () => {
  const up = await owner.run(owner.root, "up", "--listen", "127.0.0.1:0");
  expect([up.code, up.stderr]).toEqual([0, ""]);
  await create("spare", "spare.key");
  url = /^listens on (ws:\/\/127\.0\.0\.1:\d+)$/m.exec(up.stdout)?.[1] ?? "";
});
afterAll(async () => {
  await owner.close();
  await away.close();
});

const file = (name: string): string => join(away.root, name);
const scopes = ["sessions:start", "sessions:list", "sessions:watch", "sessions:stop", "tokens:mint"].flatMap((scope) => ["--scope", scope]);
const create = (name: string, out: string, ...more: readonly string[]): Promise<Outcome> =>
  owner.run(owner.root, "key", "create", name, ...scopes, "--root", project, "--out", file(out), ...more);
const idIn = ({ stderr }: Outcome): string => /key_\w+/.exec(stderr)?.[0] ?? "";
const elsewhere = (out: string): string[] => ["--url", url, "--api-key-file", file(out)];
const inProject = ["-C", project];

test("B2 key create prints the key alone on stdout, or writes it into a new file that is its owner's alone; it stands nowhere else", async () => {
  const printed = await owner.run(owner.root, "key", "create", "ci", "--scope", "sessions:list", "--root", "project", "--expires", "30d");
  expect([printed.code, printed.stdout]).toEqual([0, expect.stringMatching(/^ssdk_key_\w+\n$/) as string]);
  expect(printed.stderr).toMatch(/^sessiond: key key_\w+: sessions:list in \S+\/project, for 30 d; it is not shown again\n$/);
  const made = await create("phone", "phone.key");
  expect([made.code, made.stdout]).toEqual([0, ""]);
  expect(made.stderr).toContain("written to");
  expect(statSync(file("phone.key")).mode & 0o777).toBe(0o600);
  expect(readFileSync(file("phone.key"), "utf8")).toMatch(/^ssdk_key_\w+\n$/);
  // One that exists is nobody's to overwrite, and no key is made for it.
  const again = await create("phone", "phone.key");
  expect([again.code, again.stderr]).toEqual([2, expect.stringContaining("exists already") as string]);
  const json = await owner.run(owner.root, "key", "create", "j", "--scope", "sessions:list", "--root", project, "--json");
  expect(jsonLines(json.stdout)).toMatchObject([
    { key: expect.stringMatching(/^ssdk_key_/) as string, record: { name: "j", scopes: ["sessions:list"], roots: [project] } },
  ]);
  const listed = await owner.run(owner.root, "key", "ls", "--json");
  expect(jsonLines(listed.stdout)).toMatchObject([{ name: "spare" }, { name: "ci" }, { name: "phone" }, { name: "j" }]);
  const table = await owner.run(owner.root, "key", "ls");
  expect(table.stdout).toMatch(
    /^KEY +STATE +USED +NAME +SCOPES +ROOTS\nkey_\w{8} +live [^\n]+\nkey_\w{8} +ends in 29 d 23 h +never +ci +sessions:list +\S+\/project\n/,
  );
  for (const { stdout } of [listed, table]) expect(stdout).not.toContain("ssdk_");
});

test("2: a key that cannot be meant is told in one line, and nothing is made or left behind", async () => {
  const before = (await owner.run(owner.root, "key", "ls", "--json")).stdout;
  const wrong = [
    ["create"],
    ["create", "x"],
    ["create", "x", "--scope", "sessions:list"],
    ["create", "x", "--root", project],
    ["create", "x", "--scope", "everything", "--root", project],
    ["create", "x", "--scope", "sessions:list", "--root", "/nowhere"],
    ["create", "x", "--scope", "sessions:list", "--root", "/nowhere", "--out", file("none.key")],
    ["create", "x", "--scope", "sessions:list", "--root", project, "--expires", "soon"],
    ["create", "x", "--scope", "sessions:list", "--root", project, "--out", file("no/such/place")],
    ["create", "x", "--scope", "sessions:list", "--root", project, "--root", "project", "--url", url, "--api-key-file", file("no.key")],
    ["rotate", "key_nobody"],
    ["revoke", "ssdk_key_x"],
    ["revoke", "key_"],
    ["rm", "phone"],
  ];
  const ended = await Promise.all(wrong.map(async (args) => ({ args, ...(await owner.run(owner.root, "key", ...args)) })));
  for (const { args, code, stdout, stderr } of ended) {
    expect([args.join(" "), code, stdout]).toEqual([args.join(" "), 2, ""]);
    expect(stderr).toMatch(/^sessiond: [^\n]+[.!?]\n$/);
    expect(stderr).not.toContain("ssdk_");
  }
  expect(ended.find(({ args }) => args.includes("--url"))?.stderr).toContain("--root project: over --url a root is a directory on the daemon's machine");
  expect(existsSync(file("none.key"))).toBe(false);
  expect((await owner.run(owner.root, "key", "ls", "--json")).stdout).toBe(before);
});

test("a name that would give orders to the terminal makes no key, and a directory's is escaped; a unique beginning of an id names a key: rotate, revoke, rm", async () => {
  const bad = await create("red \u001b[31m", "red.key");
  expect([bad.code, existsSync(file("red.key"))]).toEqual([2, false]);
  const made = await create("red", "red.key", "--root", owner.workdir("project/\u001b[31m\u202e"));
  expect(made.stderr).toContain("\\u{1b}[31m\\u{202e}");
  const id = idIn(made);
  const listed = await owner.run(owner.root, "key", "ls");
  expect(listed.stdout).toContain("\\u{1b}[31m\\u{202e}");
  expect(`${listed.stdout}${made.stderr}`).not.toMatch(/\u001b|\u202e/);
  const early = await owner.run(owner.root, "key", "rm", id.slice(0, 12));
  expect([early.code, early.stderr]).toEqual([2, expect.stringContaining("has not been revoked") as string]);
  const rotated = await owner.run(owner.root, "key", "rotate", id.slice(4, 14), "--overlap", "1h");
  expect([rotated.code, rotated.stdout]).toEqual([0, expect.stringMatching(/^ssdk_key_\w+\n$/) as string]);
  expect(rotated.stderr).toContain("the one before counts for 1 h more");
  expect((await owner.run(owner.root, "key", "ls")).stdout).toMatch(/live, old secret (1 h|59 min)/);
  expect((await owner.run(owner.root, "key", "rotate", id)).stderr).toContain("the one before has ended");
  expect(await owner.run(owner.root, "key", "revoke", id.slice(0, 12))).toMatchObject({ code: 0, stdout: `revoked ${id}\n` });
  expect((await owner.run(owner.root, "key", "ls")).stdout).toMatch(new RegExp(`${id.slice(0, 12)} +revoked `));
  expect(await owner.run(owner.root, "key", "rm", id.slice(0, 12))).toMatchObject({ code: 0, stdout: `deleted ${id}\n` });
});

test("over TCP, with a key file: run, ls, info, watch, send, interrupt, wait, token, attach by it, stop; all told also queue, set, note, approve, rules and agents", async () => {
  await create("worker", "worker.key");
  const there = elsewhere("worker.key");
  const at = [...there, ...inProject];
  const cwd = away.workdir("here");
  const does = async (...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await away.run(cwd, ...args);
    expect([args[0], code, stderr.includes("ssdk_")], stderr).toEqual([args[0], 0, false]);
    return stdout;
  };
  expect(await does("run", ...at, "say from afar")).toBe("from afar\n");
  expect(await does("ls", ...there)).toContain(project);
  expect(await does("info", ...at)).toContain(project);
  const watching = away.start(cwd, ["watch", ...there]);
  await watching.said(project);
  expect(await does("send", ...at, "wait 60000")).toMatch(/^started /);
  await watching.said("thinking");
  if (whole) {
    await does("send", ...at, "say later");
    expect(await does("queue", "list", ...at)).toContain("say later");
  }
  expect(await does("interrupt", ...at)).toMatch(/^interrupted /);
  if (whole) expect(await does("queue", "release", ...at)).toMatch(/^released /);
  expect(await does("wait", ...at)).toBe("idle\n");
  if (whole) {
    expect(await does("set", ...at, "--title", "afar")).toContain("afar");
    expect(await does("note", ...at, "noted from afar")).toBe("noted\n");
    await does("send", ...at, "run echo approved > approved.txt");
    expect(await does("wait", "approval", ...at)).toContain("shell");
    expect(await does("approve", ...at, "--for-session")).toContain("allowed");
    await does("wait", ...at);
    expect(readFileSync(join(project, "approved.txt"), "utf8")).toBe("approved\n");
    const [, rule = ""] = /^(rul_\w+)/m.exec(await does("rules", "list", ...at)) ?? [];
    expect(await does("rules", "forget", ...there, rule, project)).toContain("forgotten");
  }
  const token = (await does("token", "mint", ...at)).trim();
  writeFileSync(file("token"), token);
  if (whole) expect(await does("token", "list", ...at)).toContain("minted by hand");
  const viewing = away.start(cwd, ["attach", "--view", "--url", url, "--token-file", file("token")]);
  await viewing.said("from afar");
  if (whole) expect(await does("agents", ...there)).toContain("openai");
  expect(await does("stop", ...at)).toMatch(/^stopped /);
  expect(await viewing.done).toMatchObject({ code: 0 });
  watching.signal("SIGINT");
  expect(await watching.done).toMatchObject({ code: 0 });
  // Nothing of it was this account's own: no daemon, no key, no session.
  expect(existsSync(join(away.root, "state"))).toBe(false);
  expect((await away.run(cwd, "ls")).code).toBe(4);
});

test("B4 a revoked key ends what is open with it: attach and watch say so and end with 6, and so does the next command", async () => {
  const id = idIn(await create("lent", "lent.key"));
  const cwd = away.workdir("lent");
  await away.run(cwd, "run", ...elsewhere("lent.key"), ...inProject, "say hello");
  const open = [away.start(cwd, ["watch", ...elsewhere("lent.key")]), away.start(cwd, ["attach", "--view", ...elsewhere("lent.key"), project])];
  await Promise.all([open[0]?.said(project), open[1]?.said("say hello")]);
  expect((await owner.run(owner.root, "key", "revoke", id)).code).toBe(0);
  for (const each of open) expect(await each.done).toMatchObject({ code: 6, stderr: expect.stringContaining("has ended (revoked)") as string });
  const next = await away.run(cwd, "ls", ...elsewhere("lent.key"));
  expect([next.code, next.stderr]).toEqual([6, expect.stringContaining("not valid here") as string]);
});

test("B4 key rotate-host replaces the key in its file; what the owner has open goes on, and the key is printed nowhere", async () => {
  const cwd = owner.workdir("rotating");
  await owner.run(cwd, "run", "say before");
  const watching = owner.start(cwd, ["watch"]);
  await watching.said("rotating");
  const path = join(owner.root, "state/sessiond/host-key");
  const old = readFileSync(path, "utf8");
  const rotated = await owner.run(cwd, "key", "rotate-host");
  expect(rotated).toMatchObject({ code: 0, stdout: `rotated ${path}\n`, stderr: "" });
  expect(readFileSync(path, "utf8")).not.toBe(old);
  expect((await owner.run(cwd, "run", "say after")).stdout).toBe("after\n");
  await watching.said("nobody drives");
  watching.signal("SIGINT");
  expect(await watching.done).toMatchObject({ code: 0 });
});

test("B2 a key file that others may read is not used, as ssh does it; what holds no key is not sent; an address is refused before a file is read", async () => {
  await using peer = await FalseDaemon.listen();
  await create("open", "open.key");
  const cwd = away.workdir("files");
  chmodSync(file("open.key"), 0o640);
  writeFileSync(file("a-token"), formatToken("view", `ses_${"A".repeat(22)}`, "t".repeat(32)));
  writeFileSync(file("host.key"), readFileSync(join(owner.root, "state/sessiond/host-key")), { mode: 0o600 });
  const at = (name: string, where = peer.url): string[] => ["ls", "--url", where, "--api-key-file", file(name)];
  const wrong: readonly [code: number, words: string, ...args: string[]][] = [
    [6, `chmod 600 ${file("open.key")}`, ...at("open.key")],
    [6, "holds no whole API key", ...at("host.key")],
    [2, "cannot be read", ...at("nothing.key")],
    [2, "--api-key-file FILE", "ls", "--url", peer.url],
    [2, "--url wss://host:port", "ls", "--api-key-file", file("spare.key")],
    [2, "everybody on the way", ...at("spare.key", "ws://box.example:7717")],
    [2, "nothing else", ...at("spare.key", `ws://u:p@127.0.0.1:${peer.port}`)],
    [2, "The token is the credential", "attach", "--url", peer.url, "--token-file", file("a-token"), "--api-key-file", file("spare.key")],
    [2, "holds no certificate", ...at("spare.key"), "--ca", file("spare.key")],
    [4, "nothing answers at ws://127.0.0.1:1", ...at("spare.key", "ws://127.0.0.1:1")],
  ];
  const ended = await Promise.all(wrong.map(async ([code, words, ...args]) => ({ code, words, args, outcome: await away.run(cwd, ...args) })));
  for (const { code, words, args, outcome } of ended)
    expect(outcome, args.join(" ")).toMatchObject({ code, stdout: "", stderr: expect.stringContaining(words) as string });
  expect(peer.connections).toBe(0);
  expect(await away.run(cwd, ...at("spare.key"))).toMatchObject({ code: 0 });
  expect(peer.doorstep).not.toContain("ssdk_");
});

test(
  "B2 each command that takes --url goes there and nowhere else: with a daemon of its own at hand, none of them touches it",
  { timeout: 120_000 },
  async () => {
    const cwd = owner.workdir("at-hand");
    await owner.run(cwd, "run", "say mine");
    const before = (await owner.run(cwd, "ls", "--json")).stdout;
    const help = await owner.run(cwd, "--help");
    const names = [...help.stdout.matchAll(/^ {2}([a-z]+) {2,}/gm)].map(([, name = ""]) => name);
    const parts: Readonly<Record<string, readonly string[][]>> = {
      key: [["create", "x", "--scope", "sessions:list", "--root", "/srv"], ["ls"], ["rotate", "key_x"], ["revoke", "key_x"], ["rm", "key_x"]],
      token: [["mint"], ["list"], ["revoke", "tok_x"]],
      queue: [["list"], ["edit", "prm_x", "t"], ["withdraw", "prm_x"], ["release"]],
      rules: [["list"], ["forget", "rul_x"]],
      run: [["x"]],
      send: [["x"]],
      note: [["x"]],
      set: [["--star"]],
    };
    // `acp` is started by an editor beside its files, so it too goes to the daemon of its own machine.
    const local = ["status", "doctor", "verify", "audit", "up", "down", "acp"];
    const nobody = ["--url", "ws://127.0.0.1:1", "--api-key-file", file("spare.key")];
    const remote = names.filter((each) => !local.includes(each));
    for (const name of remote)
      for (const part of parts[name] ?? [[]]) {
        const { code, stderr } = await owner.run(cwd, name, ...part, ...nobody);
        expect([name, ...part, code, stderr.includes("nothing answers at ws://127.0.0.1:1")]).toEqual([name, ...part, 4, true]);
      }
    for (const name of local) expect((await owner.run(cwd, name, ...nobody)).code, name).toBe(2);
    expect((await owner.run(cwd, "ls", "--json")).stdout).toBe(before);
  },
);

test("B42 status shows where it listens; up --listen says so where a daemon runs that does not, and ends with 1", async () => {
  const { port } = new URL(url);
  expect((await owner.run(owner.root, "status")).stdout).toContain(`${url}, goes by 127.0.0.1:${port}, localhost:${port}`);
  for (const listen of [`127.0.0.1:${port}`, `localhost:${port}`, "127.0.0.1:0"])
    expect((await owner.run(owner.root, "up", "--listen", listen)).code, listen).toBe(0);
  for (const listen of ["127.0.0.1:9", `127.0.0.2:${port}`, "0.0.0.0:0"]) {
    const { code, stdout, stderr } = await owner.run(owner.root, "up", "--listen", listen);
    expect([code, stdout, stderr]).toEqual([1, "", expect.stringContaining(`listens on ${url}. \`sessiond down\` ends it`) as string]);
  }
  const other = new CommandHouse();
  try {
    mkdirSync(join(other.root, "state"), { recursive: true });
    expect((await other.run(other.root, "up")).code).toBe(0);
    expect(await other.run(other.root, "up", "--listen", "127.0.0.1:0")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("listens on its socket alone") as string,
    });
    expect((await other.run(other.root, "status")).stdout).not.toContain("tcp");
    // Where another program has the port there is a daemon all the same.
    await other.run(other.root, "down");
    for (const _again of [1, 2])
      expect(await other.run(other.root, "up", "--listen", `127.0.0.1:${port}`)).toMatchObject({
        code: 1,
        stdout: "",
        stderr: expect.stringMatching(
          new RegExp(
            `^sessiond: The daemon runs, pid \\d+, on its socket alone: .*another program listens on 127.0.0.1:${port}\\. What helps: end that program`,
          ),
        ) as string,
      });
    expect((await other.run(other.root, "doctor")).stdout).toContain(`another program listens on 127.0.0.1:${port}`);
  } finally {
    await other.close();
  }
});

test("B2 of everything printed here no more than `key create`, `key rotate` and `token mint` printed a secret, alone on stdout", () => {
  for (const { args, stdout, stderr } of [...owner.printed, ...away.printed]) {
    const [command, part] = args;
    const gives = (command === "key" && (part === "create" || part === "rotate")) || (command === "token" && part === "mint");
    expect(stderr, args.join(" ")).not.toMatch(/ssd[hk]?_[0-9A-Za-z]/);
    if (!gives) expect(stdout, args.join(" ")).not.toMatch(/ssd[hk]?_[0-9A-Za-z]/);
  }
});

import { spawn, spawnSync } from "node:child_process";
import { closeSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import type { DriverSeat, Host, Sandbox, Session } from "@sessiond/client";
import { afterAll, afterEach, beforeEach, expect, test as anywhere, vi } from "vitest";
import { whole } from "../support/amount.ts";
import { canBeWithout, DaemonHome, daemonFile } from "../support/daemon-home.ts";
import { eventually } from "../support/eventually.ts";
import { endWorkers, hard, hardNames, isUp, nobodyWorksIn, prepare, type HardName } from "../support/hard-children.ts";
import { bubblewrapWorks, connectsTo } from "../support/sandboxed.ts";

/** Sandboxes of the real daemon: what is in one, seen from its commands, and that nothing of one outlives its daemon. */
// Where much else runs, a process takes its time.
vi.setConfig({ testTimeout: 240_000 });
const test = anywhere.skipIf(!bubblewrapWorks);
const some: readonly HardName[] = ["calls setsid", "ignores TERM", "forks for ever in groups of their own", "clears its environment"];
const kinds: Readonly<Record<string, string>> = {
  ...Object.fromEntries((whole ? hardNames.filter((name) => name !== "is another user") : some).map((name) => [name, hard(name).command])),
  "leaves its group and clears its environment": "setsid env -i setsid env -i sh -c 'trap \"\" TERM; touch up; sleep 300; sleep 300' & sleep 300",
};

let home: DaemonHome;
let workdirs: string[] = [];
beforeEach(() => {
  home = new DaemonHome();
  workdirs = [];
});
afterEach(async () => {
  await endWorkers(...workdirs);
  await home.close();
});
const figures: string[] = [];
afterAll(() => console.log(`B39 B46: sandboxes of the real daemon: ${figures.join("; ")}`));

interface Opened {
  readonly workdir: string;
  readonly session: Session;
  readonly seat: DriverSeat;
}

async function opened(host: Host, name: string, sandbox: Sandbox): Promise<Opened> {
  const workdir = join(home.root, name);
  prepare(workdir);
  workdirs.push(workdir);
  const session = await host.sessionForWorkdir(workdir, { sandbox });
  return { workdir, session, seat: await session.attach({ as: "driver" }) };
}

/** Begin a command, and allow it. */
async function begin({ seat }: Opened, command: string): Promise<void> {
  await seat.sendPrompt(`run ${command}`);
  while (seat.state.approvals.length === 0) await seat.changed();
  const [question] = seat.state.approvals;
  if (question !== undefined) await seat.approve(question, { kind: "allow_once" });
}

async function told(one: Opened, command: string): Promise<string> {
  await begin(one, command);
  while (one.seat.state.turn !== null) await one.seat.changed();
  return one.seat.state.messages.findLast((message) => message.type === "tool")?.text ?? "";
}

/** A session for each kind of command, in which it runs. */
async function allUp(host: Host, sandbox: "no_network" | "network"): Promise<(Opened & { name: string })[]> {
  const all = await Promise.all(
    Object.entries(kinds).map(async ([name, command], index) => {
      const one = await opened(host, `w${index}`, sandbox);
      await begin(one, command);
      return { ...one, name };
    }),
  );
  await Promise.all(all.map(({ name, workdir }) => eventually(`what ${name} is up`, () => isUp(workdir))));
  return all;
}

async function stillThere(all: readonly (Opened & { name: string })[]): Promise<string[]> {
  return (await Promise.all(all.map(async ({ name, workdir }) => ((await nobodyWorksIn(workdir)) ? [] : [name])))).flat();
}

test("B39 when the daemon is killed everything in its sandboxes dies with it, whatever it does, before any next start", async () => {
  await home.startByHand();
  const host = await home.connect({ autoStart: false });
  const all = await allUp(host, "no_network");
  expect(await stillThere(all)).toEqual(all.map(({ name }) => name));
  await host.close();
  await home.kill(await home.daemon());
  await eventually("nobody is left in the sandboxes", async () => (await stillThere(all)).length === 0);
  expect(home.daemons()).toEqual([]);
  await home.startByHand();
  const again = await home.connect({ autoStart: false });
  expect(await again.status()).toMatchObject({ orphans_ended: 0 });
  figures.push(`kill -9 with ${all.length} kinds of commands, nobody left`);
});

anywhere.skipIf(!bubblewrapWorks || !whole)("B39 shut_down leaves nothing of a sandbox, and is not held up by one", async () => {
  await home.startByHand();
  const host = await home.connect({ autoStart: false });
  const all = await allUp(host, "network");
  await home.gone((await host.shutDown({ waitMs: 0 })).pid);
  expect(await stillThere(all)).toEqual([]);
  expect(home.logged("unexpected").concat(home.logged("uncaught"))).toEqual([]);
  figures.push("shut_down");
});

const leaves = `(command) => require("node:child_process").spawnSync("/bin/sh", ["-c", command], { stdio: ["ignore", "inherit", "inherit"] })`;

test("B46 a command in a sandbox gets no descriptor, no variable and no file of its daemon's, and does not find its socket, with network too", async () => {
  const secret = join(home.root, "secret");
  writeFileSync(secret, "THE-SECRET");
  const given = openSync(secret, "r");
  // As an editor might start it, that holds files and sockets which its children get. Node itself keeps back those with low numbers alone.
  const stdio = [...Array.from({ length: 40 }, () => "ignore" as const), given];
  // The test itself: another program would leave it to its children.
  const other = spawnSync(process.execPath, ["-e", `(${leaves})("cat /proc/self/fd/40")`], { stdio: ["ignore", "pipe", ...stdio.slice(2)], encoding: "utf8" });
  expect(other.stdout).toBe("THE-SECRET");
  const child = spawn(process.execPath, [daemonFile], { env: { ...home.env, HARMLESS: "THE-SECRET", LANG: "C" }, stdio, cwd: "/" });
  closeSync(given);
  const host = await eventually("the daemon answers", () => home.connect({ autoStart: false }).catch(() => null));
  const free = await opened(host, "free", "off");
  expect(await told(free, "readlink /proc/self/fd/* > fds; grep secret fds; cat /proc/self/fd/40")).toMatch(
    /^cat: \/proc\/self\/fd\/40: No such file or directory/,
  );
  expect(readFileSync(join(free.workdir, "fds"), "utf8")).toMatch(/^\/dev\/null\n/);
  const server = createServer((socket) => socket.on("error", () => undefined).end());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  for (const sandbox of ["no_network", "network"] as const) {
    const one = await opened(host, sandbox, sandbox);
    expect(await told(one, `readlink /proc/[0-9]*/fd/* > fds; grep -v -E '^(socket:.*|/dev/null|anon_inode:.eventfd.|/proc/.*|${one.workdir}/fds)$' fds`)).toBe(
      "(no output)\n[exit code 1]",
    );
    const text = await told(
      one,
      `cat /proc/self/fd/40; cat /proc/*/environ | tr '\\0' '\\n' | grep -v -E '^(${Object.keys(home.env).join("|")}|PWD|OLDPWD|LANG|SESSIOND_MARK|_)='; ls ${home.stateDir} ${home.runtimeDir} ${home.root}/config; ${connectsTo.unix(home.socket)}; echo; ${connectsTo.tcp(port)}`,
    );
    expect(text).not.toContain("THE-SECRET");
    expect(
      text.split("\n").filter((line) => line.includes("=")),
      text,
    ).toEqual([]);
    expect(text).toMatch(new RegExp(`\\nno: No such file or directory\\n${sandbox === "network" ? "yes" : "no: Connection refused"}\\n\\[exit code 0\\]$`));
    expect(await told(one, `cat ${join(home.stateDir, "host-key")}`)).toMatch(/No such file or directory/);
  }
  server.close();
  figures.push("no descriptor, variable or file of the daemon's");
  expect(child.exitCode).toBe(null);
});

anywhere.skipIf(!bubblewrapWorks || !canBeWithout())("B46 without bubblewrap the real daemon starts no sandbox, and says what to install", async () => {
  home.without = ["bwrap"];
  await home.startByHand();
  const host = await home.connect({ autoStart: false });
  await expect(host.sessionForWorkdir(home.workdir, { sandbox: "no_network" })).rejects.toMatchObject({
    code: "unsupported",
    retry: "never",
    message: expect.stringContaining("apt install bubblewrap"),
  });
  const session = await host.sessionForWorkdir(home.workdir, { sandbox: "off" });
  expect(await session.info()).toMatchObject({ sandbox: "off" });
  expect(readFileSync(join(home.stateDir, "registry.json"), "utf8").match(/ses_/g)).toHaveLength(1);
});

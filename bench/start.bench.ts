import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { Host } from "@sessiond/client";
import { daemonFile, DaemonHome } from "../test/support/daemon-home.ts";
import { acpStart } from "./acp-start.ts";
import { pairs } from "./pairs.ts";
import type { Bench, How, Row } from "./row.ts";
import { endOf, limitIn, real, startOf, type Startable } from "./started-daemon.ts";

/**
 * How long a person waits for a process to be there. A cold daemon: from the start of its process to its answer to the
 * first `hello`. A command against a warm daemon: from the start of its process to its end, all of its output read.
 * Code that V8 made at an earlier start is kept, so the first of each pair is one without it, and the others as they are for
 * whoever has used this build once.
 *
 * The limit of `send` makes one call and is answered when its text is on disk, as ours is; it has no session to find, no
 * seat to take and to leave, and no token to give back.
 */
export const start: Bench = {
  name: "start",
  about: "cold daemon to the first hello; `ls` and `send` against a warm one, `acp` to its first answer; limit: node and bare tRPC, bundled alike",
  async run(how) {
    const home = new DaemonHome();
    try {
      return [await coldDaemon(how, home), ...(await commands(how, home)), ...(await acpStart(how, home))];
    } finally {
      await home.close();
    }
  },
};

const commandFile = join(daemonFile, "../sessiond.js");

const row = (what: string, { sessiond, limit, ratio, spread }: Awaited<ReturnType<typeof pairs>>): Row => ({
  what: `start, ${what}`,
  sessiond: `${sessiond.toFixed(0)} ms`,
  limit: `${limit.toFixed(0)} ms`,
  ratio,
  spread,
  bar: { atMost: 1.5 },
});

async function coldDaemon({ short, dir }: How, home: DaemonHome): Promise<Row> {
  const side = async (daemon: Startable): Promise<number> => {
    const running = await startOf(daemon);
    await endOf(running);
    return running.ms;
  };
  const bare = limitIn(dir, home);
  const compared = await pairs(
    short ? 5 : 21,
    () => side(real(home)),
    () => side(bare),
  );
  return row("cold daemon to the first hello", compared);
}

async function commands({ short, dir }: How, home: DaemonHome): Promise<Row[]> {
  const bare = limitIn(dir, home);
  const daemons = [await startOf(real(home)), await startOf(bare)];
  try {
    const host = await home.connect({ autoStart: false });
    for (const name of ["one", "two", "three"]) await used(host, join(home.root, name));
    const count = short ? 5 : 21;
    const bareFile = join(dir, "bare-command.mjs");
    const ls = await pairs(
      count,
      () => timed([commandFile, "ls"], home, "idle"),
      () => timed([bareFile, bare.socket, "ls"], home, "idle"),
    );
    const workdir = join(home.root, "one");
    const send = await pairs(
      count,
      async () => {
        const ms = await timed([commandFile, "send", "--workdir", workdir, "hello"], home, "started");
        // What it left to be done is not to weigh on what is measured next, nor the next prompt to wait for it.
        await host.session((await host.listSessions({ workdir })).sessions[0]?.session_id ?? "").waitFor("idle");
        return ms;
      },
      () => timed([bareFile, bare.socket, "send", "hello"], home, "started"),
    );
    return [row("sessiond ls, warm daemon", ls), row("sessiond send, warm daemon", send)];
  } finally {
    for (const running of daemons) await endOf(running);
  }
}

async function used(host: Host, workdir: string): Promise<void> {
  mkdirSync(workdir, { recursive: true });
  const session = await host.sessionForWorkdir(workdir);
  const seat = await session.attach({ as: "driver" });
  await seat.prompt("hello");
  await session.close();
}

/** @param said  a word of what it prints when it has done its work */
async function timed(words: readonly string[], { env }: DaemonHome, said: string): Promise<number> {
  const begun = performance.now();
  const child = spawn(process.execPath, [...words], { env, cwd: "/", stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  const [printed, complained, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  const ms = performance.now() - begun;
  if (code !== 0 || !printed.includes(said)) throw new Error(`${words.join(" ")} ended with ${code}: ${printed}${complained}`);
  return ms;
}

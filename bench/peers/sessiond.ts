import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Approval } from "@sessiond/shared";
import type { DriverSeat, Host } from "@sessiond/client";
import { connect } from "@sessiond/client/node";
import { daemonFile } from "../../test/support/daemon-home.ts";
import type { Door, Peer, PeerHome, Served, Talk, Watch } from "./peer.ts";
import { Folder, listensAt, Program } from "./program.ts";

const root = resolve(import.meta.dirname, "../..");

/** sessiond as it is shipped, by its own client library. */
export const sessiond = (): Peer => ({
  name: "sessiond",
  version: `${(JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string }).version} (${commit()})`,
  command: "sessiond-daemon",
  home: (model) => new Home(model),
});

class Home implements PeerHome {
  readonly #folder = new Folder();
  readonly #env: Record<string, string>;

  constructor(model: string) {
    const [HOME, XDG_STATE_HOME, XDG_RUNTIME_DIR, XDG_CONFIG_HOME] = ["home", "state", "run", "config"].map((name) => this.#folder.dir(name));
    this.#env = { HOME, XDG_STATE_HOME, XDG_RUNTIME_DIR, XDG_CONFIG_HOME, PATH: process.env["PATH"] ?? "" } as Record<string, string>;
    this.#folder.write("config/sessiond/config.toml", `[model]\nname = "m"\nbase_url = "${model}"\napi_key = "k"\n`);
  }

  async start(): Promise<Served> {
    const path = join(this.#folder.root, "run/sessiond/sock");
    const program = await Program.start([process.execPath, daemonFile], { env: this.#env, folder: this.#folder, ready: () => listensAt(path) });
    const host = await connect({ env: this.#env, autoStart: false });
    const startMs = program.sinceSpawn();
    return {
      pid: program.pid,
      startMs,
      create: () => this.#create(host),
      end: async () => {
        await host.close();
        await program.end();
      },
    };
  }

  async #create(host: Host): Promise<Talk> {
    const session = await host.startSession({ workdir: this.#folder.project });
    const seat = await session.attach({ as: "driver" });
    return {
      door: { peer: "sessiond", at: "", session: session.id, env: this.#env },
      prompt: (text) => seat.prompt(text),
      question: async () => {
        const approval = await asked(seat);
        return { allow: () => seat.approve(approval, { kind: "allow_once" }) };
      },
    };
  }

  remove(): Promise<void> {
    this.#folder.remove();
    return Promise.resolve();
  }
}

async function asked(seat: DriverSeat): Promise<Approval> {
  for await (const event of seat.events) if (event.type === "frame" && event.frame.event.type === "approval_requested") return event.frame.event.approval;
  throw new Error("the seat ended");
}

/** Seats of one session, each with a connection of its own, read as any program would read them. */
export const watchSessiond: Watch = async ({ session: id, env }: Door, viewers) => {
  const host = await connect({ env, autoStart: false });
  const session = await host.openSession(id);
  const seats = [];
  for (const _ of viewers) seats.push(await session.attach({ as: "viewer" }));
  for (const [index, seat] of seats.entries())
    void (async () => {
      for await (const event of seat.events)
        if (event.type === "frame" && event.frame.event.type === "agent_message_chunk") viewers[index]?.(event.frame.event.content.text);
    })();
  return () => void host.close();
};

function commit(): string {
  const git = (...words: string[]): string => execFileSync("git", words, { cwd: root, encoding: "utf8" }).trim();
  try {
    return `${git("rev-parse", "--short", "HEAD")}${git("status", "--porcelain") === "" ? "" : " and changes"}`;
  } catch {
    return "no commit";
  }
}

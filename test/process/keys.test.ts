import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Auth, KeyRecord } from "@sessiond/shared";
import { afterEach, expect, test } from "vitest";
import { amount } from "../support/amount.ts";
import { seededChance } from "../support/chance.ts";
import { DaemonHome } from "../support/daemon-home.ts";
import { eventually } from "../support/eventually.ts";
import { RawSocket, type RawReply } from "../support/raw-socket.ts";

/**
 * kill -9 of the daemon while keys are made, renewed, revoked and deleted, and the host key too: what was acknowledged
 * holds after the next start, what was not has happened whole or not at all, and there is one host key, in its file.
 */
const kills = amount(3, 20, "SESSIOND_KILLS");
const seed = Number(process.env["SESSIOND_SEED"] ?? Date.now() % 1_000_000);

let home: DaemonHome | null = null;
afterEach(async () => home?.close());

/** What its holder knows of a key. */
interface Known {
  readonly id: string;
  /** The last secret that a reply told. */
  secret: string;
  /** A rotation whose reply never came may have put another in its place. */
  maybeRotated: boolean;
  /** `maybe`: the reply never came. */
  revoked: "no" | "maybe" | "yes";
  deleted: "no" | "maybe" | "yes";
}

class KeyLife {
  readonly keys: Known[] = [];
  readonly #home: DaemonHome;
  #socket: RawSocket | null = null;
  /** Calls that were answered, by verb. */
  readonly answered: Record<string, number> = {};

  constructor(of: DaemonHome) {
    this.#home = of;
  }

  get told(): number {
    return Object.values(this.answered).reduce((sum, each) => sum + each, 0);
  }

  get hostKey(): string {
    return readFileSync(join(this.#home.stateDir, "host-key"), "utf8").trim();
  }

  async dial(): Promise<void> {
    this.#socket = await RawSocket.open(this.#home.socket);
  }

  /** @returns null when the daemon died first */
  async ask(verb: string, kind: "query" | "mutation", input: object = {}, auth: Auth = { host_key: this.hostKey }): Promise<RawReply | null> {
    const socket = this.#socket;
    if (socket === null) throw new Error("not connected");
    const reply = await Promise.race([socket.call(kind, verb, JSON.stringify({ ...input, auth })), socket.closed.then(() => null)]);
    if (reply !== null) this.answered[verb] = (this.answered[verb] ?? 0) + 1;
    return reply;
  }

  /** One change after another until the daemon is gone. */
  async live(chance: { upTo(below: number): number }): Promise<void> {
    for (;;) {
      const live = this.keys.filter(({ revoked, maybeRotated }) => revoked === "no" && !maybeRotated);
      const made = live[Math.floor(chance.upTo(live.length))];
      const what = Math.floor(chance.upTo(6));
      if (made === undefined || what === 0) {
        const reply = await this.ask("create_key", "mutation", { name: "k", scopes: ["keys:admin"], roots: [this.#home.workdir] });
        if (reply === null) return;
        if (reply.error !== undefined) throw new Error(JSON.stringify(reply.error));
        const { key, record } = reply.data as { key: string; record: KeyRecord };
        this.keys.push({ id: record.key_id, secret: key, maybeRotated: false, revoked: "no", deleted: "no" });
      } else if (what < 3) {
        made.maybeRotated = true;
        const reply = await this.ask("rotate_key", "mutation", { key_id: made.id });
        if (reply === null) return;
        made.secret = (reply.data as { key: string }).key;
        made.maybeRotated = false;
      } else if (what < 5) {
        made.revoked = "maybe";
        if ((await this.ask("revoke_key", "mutation", { key_id: made.id })) === null) return;
        made.revoked = "yes";
        // Or there would be no room for others before long.
        made.deleted = "maybe";
        if ((await this.ask("delete_key", "mutation", { key_id: made.id })) === null) return;
        made.deleted = "yes";
      } else {
        if ((await this.ask("rotate_host_key", "mutation")) === null) return;
        // What was opened with the key before is closed with it.
        await this.#socket?.closed;
        const again = await this.dial().then(
          () => true,
          () => false,
        );
        if (!again) return;
      }
    }
  }

  async check(): Promise<void> {
    const reply = await this.ask("list_keys", "query");
    const listed = (reply?.data ?? { keys: [] }) as { keys: KeyRecord[] };
    const records = new Map(listed.keys.map((record) => [record.key_id, record]));
    // A connection on which a key was used would be closed with it.
    const probe = await RawSocket.open(this.#home.socket);
    for (const { id, secret, maybeRotated, revoked, deleted } of this.keys) {
      const record = records.get(id);
      if (deleted !== "maybe") expect(record === undefined, `${id}: deleted ${deleted}`).toBe(deleted === "yes");
      const lives = record !== undefined && record.revoked_at === undefined;
      if (revoked !== "maybe") expect(lives, `${id}: revoked ${revoked}`).toBe(revoked === "no");
      const { error } = await probe.call("query", "list_keys", JSON.stringify({ auth: { api_key: secret } }));
      if (!maybeRotated || !lives) expect(error === undefined, `${id}: opens`).toBe(lives);
    }
    probe.close();
  }
}

test(`B2 B4 B36 kill -9 at ${kills} instants among changes of keys: what was acknowledged holds, and one host key is in its file`, async () => {
  home = new DaemonHome();
  const chance = seededChance(seed);
  const life = new KeyLife(home);
  for (let kill = 0; kill < kills; kill++) {
    await home.startByHand();
    await life.dial();
    await life.check();
    const pid = await home.daemon();
    const done = life.live(chance);
    // In the middle of whatever comes after so many answers.
    const enough = life.told + 1 + chance.upTo(12);
    await eventually("calls were answered", () => life.told >= enough);
    await home.kill(pid);
    await done;
  }
  await home.startByHand();
  await life.dial();
  await life.check();
  expect(existsSync(join(home.stateDir, "keys.json"))).toBe(true);
  for (const name of ["keys.json", "host-key"]) expect(statSync(join(home.stateDir, name)).mode & 0o777, name).toBe(0o600);
  // What the running daemon writes, as when a key was last used, is done before long.
  const { stateDir } = home;
  await eventually("nothing is left half done", () => !readdirSync(stateDir).some((name) => /unreadable|^\..*\d$/.test(name)));
  console.log(`B36: seed ${seed}, ${kills} kills among changes of ${life.keys.length} keys: ${JSON.stringify(life.answered)} answered`);
}, 300_000);

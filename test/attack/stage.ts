import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Host } from "@sessiond/client";
import { formatToken, verbs, type LimitName } from "@sessiond/shared";
import { DaemonHome } from "../support/daemon-home.ts";
import { eventually } from "../support/eventually.ts";
import { idOf } from "../support/gate-world.ts";
import { RawSocket } from "../support/raw-socket.ts";
import type { Figures } from "../fixtures/measured.mjs";
import { tcpEntrance, unixEntrance, type Entrance } from "./entrance.ts";
import type { Fields } from "./json-text.ts";

/**
 * A real daemon under attack: the session that is attacked, with its driver's seat taken and a question open, everybody's
 * credentials, and beside it a session where work goes on that must notice nothing.
 */
export type Caller = "nobody" | "wrong" | "owner" | "driver" | "key";

/** Times short enough to wait for; the throttles' window so short that every frame gets past them to what is behind. */
const times: Partial<Record<LimitName, number>> = { seat_grace_ms: 200, throttle_window_ms: 1 };

export class Stage extends DaemonHome {
  pid = 0;
  bootId = "";
  sessionId = "";
  facts: Readonly<Record<string, unknown>> = {};
  auths: Readonly<Record<Caller, Fields | undefined>> = { nobody: undefined, wrong: undefined, owner: undefined, driver: undefined, key: undefined };
  readonly #attacked = join(this.root, "attacked");
  readonly #seatSecrets = Array.from({ length: 10 }, (_, n) => `seat-secret-of-the-attacked-${n}`);
  /** Every credential that is in use: none of them may come back in an answer. */
  readonly secrets = new Set<string>();
  #hostKey = "";
  #measured = 0;
  #host: Host | null = null;
  #calls: RawSocket | null = null;
  #seat: RawSocket | null = null;
  #refreshed = 0;

  /** @param more  times of this stage alone */
  constructor(more: Partial<Record<LimitName, number>> = {}) {
    const known = Object.entries({ ...times, ...more });
    super(`[model]\nname = "practice"\n[tcp]\nlisten = "127.0.0.1:0"\n[limits]\n${known.map(([name, ms]) => `${name} = ${ms}\n`).join("")}`);
    for (const name of ["attacked", "another"]) mkdirSync(join(this.root, name));
  }

  /** Starts the daemon, measured, and sets the scene. @returns the owner's client */
  async begin(): Promise<Host> {
    this.pid = (await this.startMeasured()).pid ?? 0;
    this.#host = await this.connect({ autoStart: false });
    this.bootId = this.#host.hello?.boot_id ?? "";
    await this.refresh();
    return this.#host;
  }

  /** Every way in. */
  async entrances(): Promise<readonly Entrance[]> {
    const { tcp } = await this.host.status();
    return [unixEntrance(this.socket), ...(tcp === null ? [] : [tcpEntrance(tcp.port)])];
  }

  get host(): Host {
    if (this.#host === null) throw new Error("the stage has not begun");
    return this.#host;
  }

  /** As the owner, on the unix socket. @throws what it is refused with */
  async call<T>(method: string, verb: string, input: Fields): Promise<T> {
    this.#calls ??= await RawSocket.open(this.socket);
    const { data, error } = await this.#calls.call(method, verb, JSON.stringify({ auth: { host_key: this.hostKey }, ...input }));
    if (error !== undefined) throw new Error(`${verb}: ${error.message}`);
    return data as T;
  }

  get hostKey(): string {
    return (this.#hostKey ||= readFileSync(join(this.stateDir, "host-key"), "utf8").trim());
  }

  /** What the attack had, it may have spent: the seat left, the session stopped, the token revoked, the question answered. */
  async refresh(): Promise<void> {
    const secret = this.#seatSecrets[this.#refreshed++ % this.#seatSecrets.length] ?? "";
    this.#seat?.close();
    const { session, token, token_id } = await this.#begun();
    const { session_id } = session;
    const driver = { token, seat_secret: secret };
    this.#seat = await RawSocket.open(this.socket);
    const seated = await this.#seat.call(
      "subscription",
      "attach",
      JSON.stringify({ session_id, role: "driver", label: "the attacked", force: true, auth: driver }),
    );
    if (seated.error !== undefined) throw new Error(seated.error.message);
    const { tokens } = await this.call<{ tokens: { token_id: string }[] }>("query", "list_tokens", { session_id });
    for (const old of tokens) if (old.token_id !== token_id) await this.#revoke(session_id, old.token_id);
    const prompt_id = `prm_${String(this.#refreshed).padStart(22, "0")}`;
    await this.call("mutation", "send_prompt", { session_id, prompt_id, parts: [{ type: "text", text: "run true" }], when_busy: "interrupt", auth: driver });
    const { approval, turn } = await this.#asked(session_id);
    // Who ends a token ends this one first.
    const { record: bait } = await this.call<{ record: { token_id: string } }>("mutation", "mint_token", { session_id, right: "view", label: "bait" });
    const { api_key, key_id } = await this.#apiKey();
    this.sessionId = session_id;
    this.auths = {
      nobody: undefined,
      wrong: { host_key: `${this.hostKey.slice(0, -3)}AAA`, token: formatToken("control", session_id, "W".repeat(32)), seat_secret: "w".repeat(32) },
      owner: { host_key: this.hostKey },
      driver,
      key: api_key === undefined ? driver : { api_key },
    };
    this.secrets.clear();
    for (const auth of Object.values(this.auths)) for (const secret of Object.values(auth ?? {})) this.secrets.add(String(secret));
    this.facts = {
      protocol: { min: 1, max: 1 },
      request_id: idOf("req", "R"),
      workdir: join(this.root, "another"),
      session_id,
      right: "view",
      label: "somebody",
      token_id: bait.token_id,
      role: "viewer",
      prompt_id: idOf("prm", "Q"),
      parts: [{ type: "text", text: "say hello" }],
      when_busy: "queue",
      approval_id: approval.approval_id,
      option_id: "allow_once",
      digest: approval.digest,
      turn_id: turn?.turn_id ?? idOf("trn", "T"),
      rule_id: idOf("rul", "R"),
      how: "if_free",
      text: "a note",
      roots: [join(this.root, "another")],
      key_id: key_id ?? idOf("key", "K"),
    };
  }

  /** What must be as it was where nobody had the right credential. */
  async counts(): Promise<object> {
    const { sessions, seats, connections: _, ...status } = await this.host.status();
    const { tokens } = await this.call<{ tokens: object[] }>("query", "list_tokens", { session_id: this.sessionId });
    const keys = "list_keys" in verbs ? (await this.call<{ keys: object[] }>("query", "list_keys", {})).keys.length : 0;
    return { sessions, seats, tokens: tokens.length, keys, questions: status.pending_approvals };
  }

  /** What the daemon holds when everything that can be collected is. */
  async figures(): Promise<Figures> {
    const file = join(this.root, `measured-${++this.#measured}`);
    process.kill(this.pid, "SIGUSR2");
    await eventually("the daemon has measured itself", () => existsSync(file), 60_000);
    return JSON.parse(readFileSync(file, "utf8")) as Figures;
  }

  /** No line of the log that tells of a bug. */
  get bugs(): string[] {
    return this.logText()
      .split("\n")
      .filter((line) => line !== "" && (JSON.parse(line) as { level: number }).level >= 50);
  }

  letGo(): void {
    this.#seat?.close();
    this.#calls?.close();
    this.#calls = null;
  }

  /** The session that is attacked, live. */
  async #begun(): Promise<{ session: { session_id: string }; token: string; token_id: string }> {
    const start = () =>
      this.call<{ session: { session_id: string }; token: string; token_id: string }>("mutation", "start_or_get_for_workdir", {
        workdir: this.#attacked,
        model: "practice",
      });
    try {
      return await start();
    } catch {
      // Tokens that were minted in the attack have taken every place.
      const { tokens } = await this.call<{ tokens: { token_id: string }[] }>("query", "list_tokens", { session_id: this.sessionId });
      for (const { token_id } of tokens) await this.#revoke(this.sessionId, token_id);
      return start();
    }
  }

  /** It may have gone with its parent. */
  async #revoke(session_id: string, token_id: string): Promise<void> {
    await this.call("mutation", "revoke_token", { session_id, token_id }).catch(() => undefined);
  }

  async #asked(session_id: string): Promise<{ approval: { approval_id: string; digest: string }; turn: { turn_id: string } | null }> {
    return eventually("a question is open", async () => {
      const info = await this.call<{ approvals: { approval_id: string; digest: string }[]; turn: { turn_id: string } | null }>("query", "session_info", {
        session_id,
      });
      const [approval] = info.approvals;
      return approval === undefined ? null : { approval, turn: info.turn };
    });
  }

  /** One that may do what a key may, where the daemon has keys; those that the attack made are ended. */
  async #apiKey(): Promise<{ api_key?: string; key_id?: string }> {
    if (!("create_key" in verbs)) return {};
    const { keys } = await this.call<{ keys: { key_id: string; revoked_at?: number }[] }>("query", "list_keys", {});
    for (const { key_id, revoked_at } of keys) if (revoked_at === undefined) await this.call("mutation", "revoke_key", { key_id });
    // It may have gone with the one that made it.
    for (const { key_id } of keys) await this.call("mutation", "delete_key", { key_id }).catch(() => undefined);
    const scopes = ["sessions:start", "sessions:list", "sessions:watch", "sessions:stop", "tokens:mint", "keys:admin"];
    const { key } = await this.call<{ key: string }>("mutation", "create_key", { name: "attacker", scopes, roots: [this.root] });
    // Who ends a key ends this one first. On a connection of its own: it ends with the key that was used on it.
    const socket = await RawSocket.open(this.socket);
    const { data } = await socket.call("mutation", "create_key", JSON.stringify({ name: "bait", scopes, roots: [this.root], auth: { api_key: key } }));
    socket.close();
    return { api_key: key, key_id: (data as { record: { key_id: string } }).record.key_id };
  }
}

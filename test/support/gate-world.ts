import { readdirSync, readFileSync, statSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { errorTable, SessiondError, verbs, type AttachItem, type Auth, type Frame, type Row, type VerbName } from "@sessiond/shared";
import type { Peer } from "../../packages/daemon/src/gate.ts";
import { linkInProcess, removeRoot, startTestDaemon, type TestDaemon, type TestOptions } from "../../packages/daemon/src/testing.ts";
import { handlers } from "../../packages/daemon/src/verbs/index.ts";
import { FakeClock } from "./fake-clock.ts";

/** A daemon with a session whose driver has a question open, and everybody who might come to its door. */
export const seatSecretOf = (letter: string): string => letter.repeat(32);
export const idOf = (kind: string, letter: string): string => `${kind}_${letter.repeat(22)}`;
export const at = (daemon: { root: string }, ...path: string[]): string => join(daemon.root, "state", "sessiond", ...path);

/** A directory for a session, inside the daemon's root. */
export async function makeWorkdir(daemon: { root: string }, name = "work"): Promise<string> {
  const path = join(daemon.root, name);
  await mkdir(path, { recursive: true });
  return path;
}

/** Where a daemon that listens on TCP is reached by it, for RawSocket. */
export async function tcpDoor(daemon: TestDaemon): Promise<string> {
  const { tcp } = await daemon.call("daemon_status", {}, hostAuth(daemon));
  if (tcp === null) throw new Error("it does not listen on TCP");
  return `ws://${tcp.address}:${tcp.port}/`;
}

export const hostAuth = (daemon: TestDaemon): Auth => ({ host_key: daemon.hostKey });

export interface Held {
  readonly items: AttachItem[];
  readonly first: AttachItem;
  /** Resolves with the error that ended it, or null. */
  readonly ended: Promise<unknown>;
  close(): void;
  /** Resolves when an item or frame fulfils it. */
  until(holds: () => boolean): Promise<void>;
}

/** Attach over the in-process link and keep reading. @throws what `attach` refuses with */
export async function hold(
  daemon: TestDaemon,
  input: { session_id: string; role: "driver" | "viewer"; label?: string; cursor?: string },
  auth: Auth,
): Promise<Held> {
  const leaving = new AbortController();
  const items: AttachItem[] = [];
  const waiting = new Set<() => void>();
  const wake = () => {
    for (const check of [...waiting]) check();
  };
  const stream = await daemon.stream("attach", { label: input.role, ...input }, auth, leaving.signal);
  let over = false;
  const ended = (async () => {
    try {
      for await (const tracked of stream) {
        // In this process a batch's frames are texts still; the wire puts them in as they are.
        const item = (tracked as [string, AttachItem])[1];
        items.push(item.type === "batch" ? { ...item, frames: (item.frames as unknown as { parsed(): Frame[] }).parsed() } : item);
        wake();
      }
      return null;
    } catch (error) {
      return error instanceof Error && error.cause instanceof SessiondError ? error.cause : error;
    } finally {
      over = true;
      wake();
    }
  })();
  const until = (holds: () => boolean) =>
    new Promise<void>((resolve, reject) => {
      const check = () => {
        if (!holds() && !over) return;
        waiting.delete(check);
        if (holds()) resolve();
        else void ended.then((error) => reject(error ?? new Error("the stream is over")));
      };
      waiting.add(check);
      check();
    });
  await until(() => items.length > 0);
  const first = items[0] as AttachItem;
  return { items, first, ended, until, close: () => leaving.abort() };
}

/** The frames that a stream has brought, its snapshot aside. */
export const eventsOf = (held: Held) => held.items.flatMap((item) => (item.type === "batch" ? item.frames.map((frame) => frame.event) : []));

/** Every file under a directory, by path, without the audit file: what a denied call must leave as it was. */
export function filesOf(root: string, skip: (path: string) => boolean = (path) => path.endsWith("audit.jsonl")): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of readdirSync(root).sort()) {
    const path = join(root, name);
    const stat = statSync(path);
    if (stat.isDirectory()) Object.assign(found, filesOf(path, skip));
    else if (stat.isFile() && !skip(path)) found[path] = readFileSync(path, "latin1");
  }
  return found;
}

/** What every stubbed handler throws, so that a call which got through changes nothing. */
const reached = new SessiondError("unsupported", { reason: "the handler was reached" });

/** Puts a counter in the place of every handler; `restore` when done. */
export function countHandlers(): { calls: string[]; restore: () => void } {
  const calls: string[] = [];
  const places = handlers as unknown as Record<string, unknown>;
  const originals = { ...places };
  for (const [name, row] of Object.entries<Row>(verbs)) {
    places[name] =
      row.kind === "subscription"
        ? // eslint-disable-next-line require-yield -- a stream that ends before its first item
          async function* () {
            calls.push(name);
            throw reached;
          }
        : async () => {
            calls.push(name);
            throw reached;
          };
  }
  return { calls, restore: () => void Object.assign(places, originals) };
}

export interface Reply {
  readonly code: string;
  /** The whole error as it is told, to be compared word for word. */
  readonly told: string;
}

/** A way to the daemon. `raw` is whatever the caller sends, `auth` and all. */
export type Link = (verb: string, raw: unknown) => Promise<Reply>;

export function inProcess(daemon: TestDaemon, peer: Peer = { door: "unix", name: "in process" }): Link {
  return async (verb, raw) => {
    const caller = daemon.router.createCaller({ connection: linkInProcess({ peer }) }) as unknown as Record<string, (input: unknown) => Promise<unknown>>;
    try {
      const opened = await caller[verb]?.(raw);
      if (typeof opened === "object" && opened !== null && Symbol.asyncIterator in opened) for await (const _item of opened as AsyncIterable<unknown>) break;
      return { code: "ok", told: "" };
    } catch (error) {
      const known = error instanceof Error && error.cause instanceof SessiondError ? error.cause : null;
      return known === null
        ? { code: "untyped", told: String(error) }
        : { code: known.code, told: JSON.stringify({ message: known.message, data: known.toWire() }) };
    }
  };
}

/** `unauthenticated` as every caller must hear it. */
export const unauthenticatedTold = (): string => {
  const error = new SessiondError("unauthenticated");
  return JSON.stringify({ message: errorTable.unauthenticated.text({}), data: error.toWire() });
};

export interface World {
  readonly daemon: TestDaemon;
  readonly clock: FakeClock;
  readonly sessionId: string;
  readonly foreignSessionId: string;
  readonly driverSeatId: string;
  /** Sessions whose drivers hold a token that the host key minted, and one that a token minted. */
  readonly hostMintedSessionId: string;
  readonly tokenMintedSessionId: string;
  readonly auths: Readonly<
    Record<
      | "owner"
      | "driver"
      | "control"
      | "controlViewer"
      | "view"
      | "viewViewer"
      | "foreign"
      | "foreignDriver"
      | "hostMintedDriver"
      | "tokenMintedDriver"
      | "expired"
      | "expiredChild"
      | "revoked"
      | "revokedChild",
      Auth
    >
  >;
  /** By field name: a value that the schema takes. */
  readonly facts: Readonly<Record<string, unknown>>;
  close(): Promise<void>;
}

/** For who refuses a caller thousands of times; throttles have tests of their own. */
const patient = {
  failed_credentials_per_peer_per_minute_max: Number.MAX_SAFE_INTEGER,
  failed_credentials_per_id_per_minute_max: Number.MAX_SAFE_INTEGER,
};

/** A driver with a question open, viewers, a second session, dead tokens. */
export async function makeWorld(options: TestOptions = {}): Promise<World> {
  const clock = new FakeClock();
  const daemon = await startTestDaemon({ clock, ...options, limits: { ...patient, ...options.limits } });
  const owner = hostAuth(daemon);
  const started = await daemon.call("start_or_get_for_workdir", { workdir: await makeWorkdir(daemon), model: "practice" }, owner);
  const foreign = await daemon.call("start_or_get_for_workdir", { workdir: await makeWorkdir(daemon, "foreign"), model: "practice" }, owner);
  const sessionId = started.session.session_id;
  const foreignSessionId = foreign.session.session_id;
  const driver: Auth = { token: started.token, seat_secret: seatSecretOf("D") };
  const foreignDriver: Auth = { token: foreign.token, seat_secret: seatSecretOf("F") };
  const mint = async (right: "view" | "control", label: string, auth: Auth, ttl_ms?: number) =>
    daemon.call("mint_token", { session_id: sessionId, right, label, ...(ttl_ms !== undefined && { ttl_ms }) }, auth);
  // The view token descends from the driver's; the other control token does not.
  const view = await mint("view", "view", driver);
  const control = await mint("control", "control", owner);
  const expired = await mint("control", "expired", owner, 1_000);
  const expiredChild = await mint("control", "child of the expired", { token: expired.token });
  const revoked = await mint("control", "revoked", owner);
  const revokedChild = await mint("control", "child of the revoked", { token: revoked.token });
  await daemon.call("revoke_token", { session_id: sessionId, token_id: revoked.record.token_id }, owner);
  const another = async (name: string, mintedBy: "host" | "token") => {
    const { token, session } = await daemon.call(
      "start_session",
      { request_id: idOf("req", mintedBy === "host" ? "H" : "T"), workdir: await makeWorkdir(daemon, name), model: "practice" },
      owner,
    );
    const minted = await daemon.call("mint_token", { session_id: session.session_id, right: "control", label: name }, mintedBy === "host" ? owner : { token });
    return { id: session.session_id, auth: { token: minted.token, seat_secret: seatSecretOf("M") } };
  };
  const hostMinted = await another("minted-by-host", "host");
  const tokenMinted = await another("minted-by-token", "token");
  clock.advance(2_000);

  const controlViewer: Auth = { token: control.token, seat_secret: seatSecretOf("C") };
  const viewViewer: Auth = { token: view.token, seat_secret: seatSecretOf("V") };
  const seat = await hold(daemon, { session_id: sessionId, role: "driver" }, driver);
  const streams = [
    seat,
    await hold(daemon, { session_id: sessionId, role: "viewer" }, controlViewer),
    await hold(daemon, { session_id: sessionId, role: "viewer" }, viewViewer),
    await hold(daemon, { session_id: foreignSessionId, role: "driver" }, foreignDriver),
    await hold(daemon, { session_id: hostMinted.id, role: "driver" }, hostMinted.auth),
    await hold(daemon, { session_id: tokenMinted.id, role: "driver" }, tokenMinted.auth),
  ];
  const prompt_id = idOf("prm", "P");
  const sent = await daemon.call("send_prompt", { session_id: sessionId, prompt_id, parts: [{ type: "text", text: "run true" }], when_busy: "queue" }, driver);
  const isQuestion = (event: { type: string }) => event.type === "approval_requested";
  await seat.until(() => eventsOf(seat).some(isQuestion));
  const asked = eventsOf(seat).find((event) => event.type === "approval_requested");
  if (asked?.type !== "approval_requested") throw new Error("no question came");
  const facts = {
    protocol: { min: 1, max: 1 },
    request_id: idOf("req", "R"),
    workdir: await makeWorkdir(daemon, "another"),
    session_id: sessionId,
    right: "view",
    label: "somebody",
    token_id: view.record.token_id,
    role: "viewer",
    prompt_id: idOf("prm", "Q"),
    parts: [{ type: "text", text: "say hello" }],
    when_busy: "queue",
    approval_id: asked.approval.approval_id,
    option_id: "allow_once",
    digest: asked.approval.digest,
    turn_id: sent.turn_id,
    rule_id: idOf("rul", "R"),
    how: "if_free",
    text: "a note",
    name: "a program",
    scopes: ["sessions:list"],
    roots: [daemon.root],
    key_id: idOf("key", "K"),
    agent: "mine",
    serving_id: idOf("srv", "S"),
    number: 1,
    events: [],
  };
  return {
    daemon,
    clock,
    sessionId,
    foreignSessionId,
    hostMintedSessionId: hostMinted.id,
    tokenMintedSessionId: tokenMinted.id,
    driverSeatId: seat.first.type === "batch" ? "" : (seat.first.seat?.seat_id ?? ""),
    auths: {
      owner,
      driver,
      control: { token: control.token },
      controlViewer,
      view: { token: view.token },
      viewViewer,
      foreign: { token: foreign.token },
      foreignDriver,
      hostMintedDriver: hostMinted.auth,
      tokenMintedDriver: tokenMinted.auth,
      expired: { token: expired.token },
      expiredChild: { token: expiredChild.token },
      revoked: { token: revoked.token },
      revokedChild: { token: revokedChild.token },
    },
    facts,
    async close() {
      for (const stream of streams) stream.close();
      await daemon.stop(0);
      await removeRoot(daemon.root);
    },
  };
}

/** What the verb's schema wants, filled in by field name; of what is optional only a directory, and the session that a token has to name. */
export function inputFor(name: VerbName, facts: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const row: Row = verbs[name];
  const fields = Object.entries(row.input.shape).filter(
    ([field, schema]) => field === "workdir" || (field === "session_id" && row.gate !== "host") || !(schema as { isOptional(): boolean }).isOptional(),
  );
  return Object.fromEntries(fields.map(([field]) => [field, facts[field]]));
}

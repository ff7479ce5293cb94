import type { HostEvent, HostFrame, SessionListing, SessiondError, VerbInput } from "@sessiond/shared";
import type { EncodedFrames } from "../../packages/daemon/src/room/encoded-frames.ts";
import type { TestDaemon } from "../../packages/daemon/src/testing.ts";

/** Somebody who watches all sessions over the in-process link, and folds what it is told into a list of its own. */
type Item =
  | { type: "list"; cursor: string; head: number; sessions: SessionListing[]; reset?: string }
  | { type: "resumed"; cursor: string; head: number }
  | { type: "batch"; cursor: string; head: number; frames: EncodedFrames };

export class Watcher {
  readonly frames: HostFrame[] = [];
  readonly lists: Extract<Item, { type: "list" }>[] = [];
  /** All that ever came, as text. */
  text = "";
  cursor = "";
  first: Item | undefined;
  /** What went wrong with the order, if anything; of a watcher without a filter. */
  gap: string | null = null;
  /** Undefined while it runs; null: completed; else what ended it. */
  end: SessiondError | null | undefined;
  sessions = new Map<string, SessionListing>();
  #seq = 0;
  #reading = true;
  readonly #link = new AbortController();
  #wakers: (() => void)[] = [];

  /**
   * @param reads  false: it takes its first item and nothing else until `resume`
   * @throws SessiondError  what the daemon refused with
   */
  static async open(daemon: TestDaemon, input: VerbInput<"watch_sessions"> = {}, reads = true): Promise<Watcher> {
    const watcher = new Watcher();
    watcher.#reading = reads;
    const stream = await daemon.stream("watch_sessions", input, { host_key: daemon.hostKey }, watcher.#link.signal);
    void watcher.#read(stream as AsyncIterable<[string, Item]>);
    await watcher.until(() => watcher.first !== undefined || watcher.end !== undefined);
    if (watcher.end) throw watcher.end;
    return watcher;
  }

  get events(): HostEvent[] {
    return this.frames.map((frame) => frame.event);
  }

  get types(): string[] {
    return this.events.map((event) => event.type);
  }

  /** Takes nothing any more until `resume`. */
  pause(): void {
    this.#reading = false;
  }

  resume(): void {
    this.#reading = true;
    this.#wake();
  }

  async drop(): Promise<void> {
    this.#link.abort();
    await this.until(() => this.end !== undefined);
  }

  /** Resolves when `condition` holds; looked at after each item. */
  async until(condition: (watcher: Watcher) => boolean): Promise<void> {
    while (!condition(this)) {
      if (this.end !== undefined) throw this.end ?? new Error("the stream is over");
      await new Promise<void>((resolve) => this.#wakers.push(resolve));
    }
  }

  /** The events of a type, as soon as there are `count` of them. */
  async of<T extends HostEvent["type"]>(type: T, count = 1): Promise<Extract<HostEvent, { type: T }>[]> {
    const found = () => this.events.filter((event): event is Extract<HostEvent, { type: T }> => event.type === type);
    await this.until(() => found().length >= count);
    return found();
  }

  async #read(stream: AsyncIterable<[string, Item]>): Promise<void> {
    try {
      for await (const [, item] of stream) {
        this.#take(item);
        this.#wake();
        while (!this.#reading) await new Promise<void>((resolve) => this.#wakers.push(resolve));
      }
      this.end = null;
    } catch (error) {
      this.end = ((error as Error).cause ?? error) as SessiondError;
    }
    this.#wake();
  }

  #take(item: Item): void {
    this.first ??= item;
    this.cursor = item.cursor;
    const seq = Number(item.cursor.split(":")[1]);
    if (item.type !== "batch") {
      this.#seq = seq;
      this.text += `${JSON.stringify(item)}\n`;
      if (item.type === "list") {
        this.lists.push(item);
        this.sessions = new Map(item.sessions.map((session) => [session.session_id, session]));
      }
      return;
    }
    this.text += `${item.frames.texts.join(",")}\n`;
    for (const frame of item.frames.texts.map((text) => JSON.parse(text) as HostFrame)) {
      if (frame.seq !== this.#seq + 1) this.gap ??= `${this.#seq} then ${frame.seq}`;
      this.#seq = frame.seq;
      this.frames.push(frame);
      // One that came back has its list from before.
      if (this.lists.length > 0) fold(this.sessions, frame.event);
    }
    if (seq !== this.#seq) this.gap ??= `a batch up to ${this.#seq} says ${seq}`;
  }

  #wake(): void {
    for (const wake of this.#wakers.splice(0)) wake();
  }
}

/** What a watcher makes of an event. */
export function fold(sessions: Map<string, SessionListing>, event: HostEvent): void {
  const id = event.session_id;
  if (event.type === "session_started") return void sessions.set(id, event.session);
  if (event.type === "session_deleted") return void sessions.delete(id);
  const session = sessions.get(id);
  if (session === undefined) throw new Error(`${event.type} of a session that is not listed`);
  sessions.set(id, changed(session, event));
}

function changed(session: SessionListing, event: HostEvent): SessionListing {
  const { session_id, workdir, stable, created_at, approvals = [] } = session;
  switch (event.type) {
    case "status_changed":
      return { ...session, status: event.status, status_since: event.since };
    case "driver_changed": {
      const { driver: _driver, ...rest } = session;
      return event.driver === null ? rest : { ...rest, driver: event.driver };
    }
    case "approval_pending":
      return { ...session, approvals: [...approvals, { approval_id: event.approval_id, tool: event.tool, asked_at: event.asked_at }] };
    case "approval_closed":
      return { ...session, approvals: approvals.filter(({ approval_id }) => approval_id !== event.approval_id) };
    case "session_configured":
      return { ...session, title: event.title, starred: event.starred, model: event.model };
    case "session_faulted": {
      const { fault: _fault, ...rest } = session;
      return event.fault === null ? rest : { ...rest, fault: event.fault };
    }
    case "session_resting":
    case "session_stopped":
      return { session_id, workdir, stable, created_at, life_state: event.type === "session_resting" ? "resting" : "stopped" };
    default:
      return session;
  }
}

/** A list as a watcher can know it: who sits there beside the driver is not told. */
export const told = (sessions: Iterable<SessionListing>): SessionListing[] =>
  [...sessions].map(({ seats: _seats, ...rest }) => rest).sort((a, b) => a.session_id.localeCompare(b.session_id));

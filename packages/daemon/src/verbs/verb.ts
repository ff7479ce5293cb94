import type { Limits, VerbName, VerbOutput, VerbParsed, Verbs } from "@sessiond/shared";
import type { Counters } from "../counters.ts";
import type { GrantFor } from "../gate.ts";
import type { ApiKeys } from "../host/api-keys.ts";
import type { Host } from "../host/host.ts";
import type { WatchOutput } from "../host/host-room.ts";
import type { Starts } from "../host/starts.ts";
import type { AttachOutput, Reader } from "../session/attach.ts";

/** Programs that offer themselves as agents. */
export interface ServedAgents {
  serve(offer: VerbParsed<"serve_agent">, reader: Reader): AsyncGenerator<VerbOutput<"serve_agent">>;
  /** @throws SessiondError not_found, conflict */
  said(said: VerbParsed<"agent_event">): Promise<VerbOutput<"agent_event">>;
}

/** What a handler may use. It never asks who is calling: the gate has. */
export interface Daemon {
  readonly host: Host;
  readonly starts: Starts;
  readonly keys: ApiKeys;
  readonly served: ServedAgents;
  readonly limits: Limits;
  readonly bootId: string;
  readonly counters: Counters;
  status(): Promise<VerbOutput<"daemon_status">>;
  /** @returns the file in which another host key lies now; the one before counts no more. @throws SessiondError storage_failed */
  rotateHostKey(): Promise<string>;
  /** Begin to drain; the process ends when that is done. */
  shutDown(waitMs: number): void;
}

export interface Call<V extends VerbName> {
  readonly input: VerbParsed<V>;
  readonly grant: GrantFor<Verbs[V]["gate"]>;
  readonly daemon: Daemon;
  readonly reader: Reader;
}

/** Frames stay the text that they were made into, once for all readers. */
export type StreamOutput<V extends VerbName> = V extends "attach" ? AttachOutput : V extends "watch_sessions" ? WatchOutput : VerbOutput<V>;
export type Result<V extends VerbName> = Verbs[V]["kind"] extends "subscription" ? AsyncGenerator<StreamOutput<V>> : Promise<VerbOutput<V>>;
export type Handler<V extends VerbName> = (call: Call<V>) => Result<V>;

import type { IncomingMessage, Server } from "node:http";
import type { TurnedAway } from "../counters.ts";
import type { Peer } from "../gate.ts";
import type { Page } from "./http.ts";

/** One way to the door: a server of its own, whom it lets in, how many, and what it shows to who asks for a page. */
export interface Entrance {
  readonly server: Server;
  readonly pages: Readonly<Record<string, Page>>;
  peer(request: IncomingMessage): Peer;
  /** Why a request is turned away before a credential is looked at, or null. */
  unwelcome(request: IncomingMessage): TurnedAway | null;
  /** Which limit this one went beyond, or null. @param clients  WebSockets that came by this entrance and are open */
  crowded(request: IncomingMessage, wants: "page" | "socket", clients: number): Full | null;
}

export interface Full {
  readonly status: "429 Too Many Requests" | "503 Service Unavailable";
  readonly limit: Extract<TurnedAway, `${string}_max`>;
  readonly value: number;
}

const retryAfterMs = 1_000;

/** Nothing can be said yet but by the status line: which limit, and when to come again. */
export const fullWords = ({ limit, value }: Full): string => `limit ${limit} reached (${value} connections), try again in ${retryAfterMs} ms`;
export const retryAfter = String(retryAfterMs / 1_000);

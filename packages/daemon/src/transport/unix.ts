import { createServer, type IncomingMessage } from "node:http";
import type { Limits } from "@sessiond/shared";
import { healthz, httpBounds, metricsPage, type MetricsSource } from "./http.ts";
import type { Entrance } from "./entrance.ts";

/** The socket's one name; no page and no forwarded port calls it otherwise. */
const ownHost = "localhost";

/**
 * The owner's entrance: only this account can open the socket. Browsers cannot reach it: a page's Origin, or another
 * Host, is a forwarded attack.
 */
export function unixEntrance(limits: Limits, metrics: MetricsSource): Entrance {
  let accepted = 0;
  return {
    server: createServer(httpBounds(limits)),
    pages: { "/healthz": healthz, "/metrics": metricsPage(metrics) },
    // Nobody there pays for another.
    peer: () => ({ door: "unix", name: String((accepted += 1)) }),
    unwelcome,
    crowded: (_request, wants, clients) =>
      wants === "socket" && clients >= limits.connections_max
        ? { status: "503 Service Unavailable", limit: "connections_max", value: limits.connections_max }
        : null,
  };
}

function unwelcome({ headers }: IncomingMessage): "origin" | "host" | null {
  if (headers.origin !== undefined) return "origin";
  return headers.host === ownHost ? null : "host";
}

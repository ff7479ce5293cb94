import { createServer, type Server } from "node:http";
import { createServer as createSecureServer } from "node:https";
import type { AddressInfo } from "node:net";
import { SessiondError, type Limits } from "@sessiond/shared";
import type { Clock } from "../clock.ts";
import type { Counters } from "../counters.ts";
import type { TcpSettings } from "../tcp-settings.ts";
import { bracketed, isAnyAddress, isLoopback, peerName } from "./address.ts";
import { Certificate, loadPair, type Pair } from "./certificate.ts";
import { Crowd } from "./crowd.ts";
import type { Entrance } from "./entrance.ts";
import { healthz, httpBounds } from "./http.ts";
import { Names } from "./names.ts";

/**
 * The entrance over TCP, where it was asked for. Whatever the settings say, what counts is the address that was really
 * bound: beyond this machine it is TLS or nothing. The host key does not count here (the gate sees to that), and the
 * only page is `/healthz`.
 */
export interface TcpEntrance extends Entrance {
  readonly facts: { readonly address: string; readonly port: number; readonly tls: boolean; readonly hosts: string[] };
  problems(): { what: string; mend: string }[];
  /** Stop looking after the certificate. */
  close(): void;
}

export interface TcpOptions {
  readonly clock: Clock;
  readonly limits: Limits;
  readonly counters: Counters;
  note(what: string, about: Record<string, unknown>): void;
}

/** @throws SessiondError config_invalid, with a sentence that says what to do; then nothing listens */
export async function listenTcp(settings: TcpSettings, options: TcpOptions): Promise<TcpEntrance> {
  const { limits, counters } = options;
  const pair = settings.tls === null ? null : await loadPair(settings.tls);
  const server = pair === null ? createServer(httpBounds(limits)) : secureServer(pair, limits);
  const crowd = new Crowd(server, { limits, counters });
  const { address, port } = await bind(server, settings);
  const bound = { address, port, tls: pair !== null };
  const names = new Names(bound, settings);
  const reason = notHere(bound, names);
  if (reason !== null) {
    server.close();
    throw new SessiondError("config_invalid", { reason });
  }
  const certificate =
    settings.tls === null || pair === null
      ? null
      : new Certificate(settings.tls, pair, {
          clock: options.clock,
          limits,
          onRenewed: (renewed) => {
            (server as ReturnType<typeof secureServer>).setSecureContext(contextOf(renewed));
            options.note("certificate renewed", { valid_to: new Date(renewed.validTo).toISOString() });
          },
          onTrouble: (why) => options.note("certificate not renewed", { reason: why }),
        });
  const peerOf = ({ socket }: { readonly socket: { readonly remoteAddress?: string | undefined } }): string => peerName(socket.remoteAddress ?? "gone");
  return {
    server,
    pages: { "/healthz": healthz },
    peer: (request) => ({ door: "tcp", name: peerOf(request) }),
    unwelcome: (request) => names.unwelcome(request),
    crowded: (request) => crowd.over(peerOf(request)),
    facts: { ...bound, hosts: [...names.hosts] },
    problems: () => certificate?.problems() ?? [],
    close: () => certificate?.close(),
  };
}

const contextOf = ({ cert, key }: Pair) => ({ cert, key, minVersion: "TLSv1.2" }) as const;

const secureServer = (pair: Pair, limits: Limits) => createSecureServer({ ...httpBounds(limits), ...contextOf(pair), handshakeTimeout: limits.hello_wait_ms });

async function bind(server: Server, { address, port }: TcpSettings): Promise<AddressInfo> {
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host: address, port, ipv6Only: false }, () => {
      server.off("error", reject);
      resolve();
    });
  }).catch((error: NodeJS.ErrnoException) => {
    throw new SessiondError("config_invalid", { reason: `it cannot listen on ${bracketed(address)}:${port}: ${whyNot(error)}` }, { cause: error });
  });
  return server.address() as AddressInfo;
}

function whyNot({ code, message }: NodeJS.ErrnoException): string {
  switch (code) {
    case "EADDRINUSE":
      return "another program listens there; choose another port, or 0 for any that is free";
    case "EACCES":
      return "this account may not have that port; choose one above 1023";
    case "EADDRNOTAVAIL":
      return "this machine has no such address; `ip address` shows which it has";
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return "that name leads nowhere; give an address";
    default:
      return message;
  }
}

/** What would be bound is known only now: a name leads where the machine's files and name servers say. */
function notHere({ address, tls }: { readonly address: string; readonly tls: boolean }, { hosts }: Names): string | null {
  if (!tls && !isLoopback(address))
    return `it would listen on ${address}, which others can reach, without TLS; give cert and key under [tcp], or listen on 127.0.0.1 and forward the port (ssh -L)`;
  if (isAnyAddress(address) && hosts.length === 0)
    return `it would listen on every address (${address}) and be called by none; list under [tcp] the hosts it is called by, or listen on one address`;
  return null;
}

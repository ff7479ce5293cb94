import type { IncomingMessage, ServerResponse } from "node:http";
import { isSessiondError } from "@sessiond/shared";

/**
 * The door's plain HTTP. `/healthz` is open and says only that the daemon is up; `/metrics` is for the holder of the host key,
 * which comes as a bearer token: never in a URL. Everything else is not there.
 */
export interface Pages {
  /** @throws SessiondError unauthenticated */
  metrics(hostKey: unknown): Promise<string>;
  /** A bug. */
  report(error: unknown): void;
}

/** The socket's one name; no page and no forwarded port calls it otherwise. */
const ownHost = "localhost";

/**
 * Why a request is turned away before a credential is looked at, or null. Browsers cannot reach a unix socket: a page's
 * Origin, or another Host, is a forwarded attack.
 */
export function unwelcome({ headers }: IncomingMessage): "origin" | "host" | null {
  if (headers.origin !== undefined) return "origin";
  return headers.host === ownHost ? null : "host";
}

type Answer = readonly [status: number, body: string, headers?: Readonly<Record<string, string>>];
const notThere: Answer = [404, "not found\n"];
const onlyGet: Answer = [405, "only GET\n", { allow: "GET" }];

export async function answer(request: IncomingMessage, response: ServerResponse, pages: Pages): Promise<void> {
  const [status, body, headers] = await answerOf(request, pages);
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store", connection: "close", ...headers }).end(body);
}

async function answerOf(request: IncomingMessage, pages: Pages): Promise<Answer> {
  switch (request.url) {
    case "/healthz":
      return request.method === "GET" ? [200, "ok\n"] : onlyGet;
    case "/metrics":
      return request.method === "GET" ? metrics(request, pages) : onlyGet;
    default:
      return notThere;
  }
}

async function metrics({ headers }: IncomingMessage, pages: Pages): Promise<Answer> {
  try {
    return [200, await pages.metrics(bearerOf(headers.authorization)), { "content-type": "text/plain; version=0.0.4; charset=utf-8" }];
  } catch (error) {
    if (isSessiondError(error, "unauthenticated")) return [401, "unauthenticated\n", { "www-authenticate": "Bearer" }];
    pages.report(error);
    return [500, "internal\n"];
  }
}

const bearerOf = (authorization: string | undefined): string | undefined => /^Bearer +(\S+)$/i.exec(authorization ?? "")?.[1];

import type { IncomingMessage, ServerOptions, ServerResponse } from "node:http";
import { isSessiondError, type Limits } from "@sessiond/shared";

/**
 * The door's plain HTTP. `/healthz` is open and says only that the daemon is up; `/metrics` is for the holder of the host key,
 * which comes as a bearer token: never in a URL. Everything else is not there.
 */
export interface Answer {
  readonly status: number;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}
export type Page = (request: IncomingMessage) => Answer | Promise<Answer>;

export interface MetricsSource {
  /** @throws SessiondError unauthenticated */
  metrics(hostKey: unknown): Promise<string>;
  /** A bug. */
  report(error: unknown): void;
}

/** A request is a line and a few headers, said at once: who takes longer than `hello_wait_ms` is cut as a newcomer, long before Node would. */
export const httpBounds = ({ http_head_bytes_max }: Limits): ServerOptions => ({ maxHeaderSize: http_head_bytes_max });

/**
 * Whether an upgrade asks for the one WebSocket there is. What is no path at all (`//`, `http://`) would be an exception
 * in the adapter, which makes a URL of it: on a server's event, where an exception ends the process.
 */
export const asksForDoor = (target: string | undefined): boolean => target !== undefined && /^\/(\?|$)/.test(target);

const notThere: Answer = { status: 404, body: "not found\n" };
const onlyGet: Answer = { status: 405, body: "only GET\n", headers: { allow: "GET" } };

export async function answer(request: IncomingMessage, pages: Readonly<Record<string, Page>>): Promise<Answer> {
  const { url = "", method } = request;
  const page = Object.hasOwn(pages, url) ? pages[url] : undefined;
  if (page === undefined) return notThere;
  return method === "GET" ? page(request) : onlyGet;
}

export function send(response: ServerResponse, { status, body, headers }: Answer): void {
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store", connection: "close", ...headers }).end(body);
}

export const healthz: Page = () => ({ status: 200, body: "ok\n" });

export const metricsPage =
  ({ metrics, report }: MetricsSource): Page =>
  async ({ headers }) => {
    try {
      return { status: 200, body: await metrics(bearerOf(headers.authorization)), headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" } };
    } catch (error) {
      if (isSessiondError(error, "unauthenticated")) return { status: 401, body: "unauthenticated\n", headers: { "www-authenticate": "Bearer" } };
      report(error);
      return { status: 500, body: "internal\n" };
    }
  };

const bearerOf = (authorization: string | undefined): string | undefined => /^Bearer +(\S+)$/i.exec(authorization ?? "")?.[1];

import type { IncomingMessage } from "node:http";
import type { TcpSettings } from "../tcp-settings.ts";
import { bracketed, isAnyAddress, isLoopback } from "./address.ts";

/**
 * Who is meant by a request to the TCP door, and which page it comes from: looked at before any credential. A page whose
 * name was bound to this machine (DNS rebinding) still calls the door by its own name in `Host`; a page of another site
 * says so in `Origin` or `Sec-Fetch-Site`. Programs that are no browser send neither.
 */
export interface Bound {
  readonly address: string;
  readonly port: number;
  readonly tls: boolean;
}

export class Names {
  /** As `Host` says them: with the port, and without where browsers leave it out. */
  readonly hosts: readonly string[];
  readonly #scheme: string;
  readonly #origins: ReadonlySet<string>;

  constructor({ address, port, tls }: Bound, { hosts, origins }: Pick<TcpSettings, "hosts" | "origins">) {
    const own = isAnyAddress(address) ? [] : [bracketed(address), ...(isLoopback(address) ? ["localhost"] : [])];
    const all = [...own, ...hosts].map((host) => (/(?:\]|^[^[\]]+):\d+$/.test(host) ? host : `${host}:${port}`));
    this.hosts = [...new Set(all.flatMap((host) => [host, ...withoutUsualPort(host)]))];
    this.#scheme = tls ? "https" : "http";
    this.#origins = new Set(origins);
  }

  unwelcome({ headersDistinct: headers }: IncomingMessage): "host" | "origin" | "fetch_site" | null {
    const [host, ...otherHosts] = headers["host"] ?? [];
    const called = host?.toLowerCase();
    if (called === undefined || otherHosts.length > 0 || !this.hosts.includes(called)) return "host";
    const [origin, ...otherOrigins] = headers["origin"] ?? [];
    if (otherOrigins.length > 0) return "origin";
    const listed = origin !== undefined && this.#origins.has(origin);
    if (origin !== undefined && !listed && origin !== `${this.#scheme}://${called}`) return "origin";
    // What a browser says of itself; a value that nobody knows is another site's.
    const sites = headers["sec-fetch-site"] ?? [];
    return listed || sites.every((site) => site === "same-origin" || site === "none") ? null : "fetch_site";
  }
}

const withoutUsualPort = (host: string): string[] => (/:(80|443)$/.test(host) ? [host.replace(/:\d+$/, "")] : []);

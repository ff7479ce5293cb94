import { isAbsolute, join } from "node:path";
import { SessiondError } from "@sessiond/shared";
import { z } from "zod";

/** What `[tcp]` of config.toml and `--listen` ask for. Nothing is resolved, read or opened here; that is transport/tcp.ts. */
export interface TcpSettings {
  /** An address without brackets, or a name. */
  readonly address: string;
  /** 0: any that is free. */
  readonly port: number;
  /** Names it is also called by: lower case, with a port or without. */
  readonly hosts: readonly string[];
  /** Pages that may speak to it: `scheme://host[:port]`, lower case. */
  readonly origins: readonly string[];
  readonly tls: TlsFiles | null;
}

export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
}

export const tcpTable = z.strictObject({
  listen: z.string().optional(),
  hosts: z.array(z.string()).default([]),
  origins: z.array(z.string()).default([]),
  cert: z.string().optional(),
  key: z.string().optional(),
});

/** A host as a browser writes it: no user, no path, no dot at the end. */
const hostForm = /^(?:\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9_.-]*[a-z0-9_-])?)(?::([0-9]{1,5}))?$/;

/**
 * @param listen  the argument, which wins over the file's
 * @returns null when nobody asked for TCP
 * @throws SessiondError config_invalid
 */
export function readTcp(file: z.infer<typeof tcpTable>, listen: string | undefined, configDir: string): TcpSettings | null {
  const where = listen ?? file.listen;
  if (where === undefined) {
    if (file.cert !== undefined || file.key !== undefined || file.hosts.length > 0 || file.origins.length > 0)
      throw wrong('[tcp] has no listen: say where, as in listen = "127.0.0.1:7717", or remove the table');
    return null;
  }
  return { ...readAddress(where), hosts: file.hosts.map(readHost), origins: file.origins.map(readOrigin), tls: readTls(file, configDir) };
}

function readAddress(where: string): { address: string; port: number } {
  const [, bracketed, plain, digits] = /^(?:\[([0-9a-f:.]+)\]|([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)):([0-9]{1,5})$/i.exec(where) ?? [];
  const address = bracketed ?? plain;
  const port = Number(digits);
  if (address === undefined || !(port <= 65_535))
    throw wrong(`listen = ${JSON.stringify(where)} is no ADDRESS:PORT; examples: 127.0.0.1:7717, [::1]:7717, localhost:0 (any free port)`);
  return { address: address.toLowerCase(), port };
}

function readHost(host: string): string {
  const lower = host.toLowerCase();
  const [found, digits] = hostForm.exec(lower) ?? [];
  if (found === undefined || Number(digits ?? 1) > 65_535 || Number(digits ?? 1) === 0)
    throw wrong(`hosts: ${JSON.stringify(host)} is no HOST or HOST:PORT, such as "box.example" or "box.example:443"`);
  return lower;
}

function readOrigin(origin: string): string {
  const lower = origin.toLowerCase();
  const [, scheme = "", host = ""] = /^([a-z][a-z0-9+.-]*):\/\/(.+)$/.exec(lower) ?? [];
  if (scheme === "" || !hostForm.test(host))
    throw wrong(
      `origins: ${JSON.stringify(origin)} is no origin, such as "https://app.example": scheme, host, and a port where it is not the scheme's own; no path`,
    );
  // As a browser says it.
  return lower.replace(scheme === "https" ? /:443$/ : scheme === "http" ? /:80$/ : /$^/, "");
}

function readTls({ cert, key }: z.infer<typeof tcpTable>, configDir: string): TlsFiles | null {
  if (cert === undefined && key === undefined) return null;
  if (cert === undefined || key === undefined) throw wrong(`TLS needs both files: ${cert === undefined ? "cert" : "key"} is missing in [tcp]`);
  const found = (path: string): string => (isAbsolute(path) ? path : join(configDir, path));
  return { cert: found(cert), key: found(key) };
}

const wrong = (reason: string): SessiondError => new SessiondError("config_invalid", { reason });

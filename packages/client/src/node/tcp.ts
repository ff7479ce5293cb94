import { rootCertificates } from "node:tls";
import type { LookupFunction } from "node:net";
import { daemonUrl } from "../daemon-url.ts";
import type { Dial, WireEnd } from "../wire.ts";
import { SocketWire, type Unopened } from "./socket-wire.ts";

/**
 * A WebSocket over TCP. The certificate is always verified, its name too, whatever the environment says; a private
 * authority is added by its PEM text. Nothing secret is said before that: credentials travel with the calls.
 */
export interface TcpOptions {
  readonly url: string;
  /** PEM text of a certificate, or of several, that are trusted beside those that Node trusts. */
  readonly ca?: string | undefined;
}

/** @throws SessiondError `unsupported` for an address that is none */
export function tcpSocket({ url, ca }: TcpOptions): Dial {
  const address = daemonUrl(url);
  const over = {
    rejectUnauthorized: true,
    ...(ca !== undefined && { ca: [...rootCertificates, ca] }),
    ...(address.startsWith("ws:") && { lookup: thisMachine }),
  };
  return (listener) => new SocketWire({ url: address, elsewhere: true, over, unopened: (failure) => why(address, failure) }, listener);
}

/** `localhost` is this machine, and no resolver is asked whether it might be another. */
const thisMachine: LookupFunction = (_name, { all }, found) =>
  all
    ? found(null, [
        { address: "127.0.0.1", family: 4 },
        { address: "::1", family: 6 },
      ])
    : found(null, "127.0.0.1", 4);

/** Where another try may find what this one did not, and where it is the same again. */
const absent: ReadonlySet<string | undefined> = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "ETIMEDOUT",
  "EADDRNOTAVAIL",
]);

function why(address: string, failure: Unopened | null): WireEnd {
  const at = address.replace(/\/$/, "");
  if (failure === null) return { reason: `${at} closed the connection before it was open` };
  const { message, code = "", status } = failure;
  if (status !== undefined) return status >= 500 || status === 429 ? { reason: message } : { reason: answered(at, status), hopeless: true };
  if (absent.has(code)) return { reason: `nothing answers at ${at} (${code})`, nobody: true };
  if (code.startsWith("HPE_")) return { reason: `what answers at ${at} is no daemon (${message})`, hopeless: true };
  if (/^(EPROTO|ERR_SSL_)/.test(code))
    return { reason: `${at} does not speak TLS as it must: it is not the port of a daemon that has a certificate`, hopeless: true };
  if (/CERT|SIGNATURE|ISSUER|CRL|ALTNAME|^ERR_TLS/.test(code))
    return { reason: `the certificate of ${at} is not trusted (${message}); a private one needs its authority's certificate`, hopeless: true };
  return { reason: `${at}: ${message}` };
}

const answered = (at: string, status: number): string =>
  status >= 300 && status < 400
    ? `${at} sends elsewhere (${status}), and a key goes only to the address that was given`
    : `${at} takes no connection by that name (${status}); the daemon lists the names that it goes by`;

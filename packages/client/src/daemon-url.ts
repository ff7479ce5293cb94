import { SessiondError } from "@sessiond/shared";

/**
 * Where a daemon listens on TCP, as its caller wrote it. Credentials go to nobody else: no redirect is followed and no
 * address is taken from what a daemon says. They travel with the calls, never in the address; and in plain text only
 * where no other machine can read along.
 */

/** @returns the address in one spelling. @throws SessiondError `unsupported` with the reason, which does not repeat the address: there may be a secret in it */
export function daemonUrl(text: string): string {
  const url = parsed(text);
  if (url === null) throw refused("a daemon's address looks like wss://host:port");
  if (url.protocol !== "ws:" && url.protocol !== "wss:") throw refused("a daemon's address begins with wss://, or with ws:// on the same machine");
  // Also where it is empty, which the parser leaves out.
  if (/[@?#\\\s]/.test(text) || url.pathname !== "/")
    throw refused("a daemon's address is wss://host:port and nothing else: no user, password, path, query or fragment, and never a key");
  if (url.protocol === "ws:" && !isLoopback(url.hostname))
    throw refused("over ws:// everybody on the way can read the key; use wss://, or on the same machine ws://127.0.0.1:port");
  return url.href;
}

/** In the spelling of a parsed URL. */
const isLoopback = (hostname: string): boolean => hostname === "localhost" || hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(hostname);

function parsed(text: string): URL | null {
  try {
    return new URL(text);
  } catch {
    return null;
  }
}

const refused = (reason: string): SessiondError => new SessiondError("unsupported", { reason });

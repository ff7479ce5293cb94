import { lstatSync, type Stats } from "node:fs";
import { connect } from "node:net";
import { dirname } from "node:path";
import { limits, SessiondError } from "@sessiond/shared";
import type { Dial } from "../wire.ts";
import { SocketWire } from "./socket-wire.ts";

/**
 * A WebSocket over a unix socket. The URL names no path, because `ws+unix:` breaks on
 * spaces, `#`, `?` and `:` in one. Before a word is said the socket's directory is checked:
 * it is the access control, so a key must not be shown to whoever made another one.
 *
 * @returns a dialler of that socket
 */
export const unixSocket =
  (path: string): Dial =>
  (listener) => {
    checkPath(path);
    return new SocketWire(
      {
        url: "ws://localhost/",
        over: { createConnection: () => connect(path) },
        unopened: (failure) =>
          failure?.code === "ENOENT" || failure?.code === "ECONNREFUSED"
            ? { reason: `nothing listens at ${path}`, nobody: true }
            : { reason: failure?.message ?? "the socket closed before it was open" },
      },
      listener,
    );
  };

/** @throws SessiondError `daemon_unreachable` with the reason */
export function checkPath(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes > limits.socket_path_bytes_max)
    throw unsafe(`the socket's path has ${bytes} bytes, more than ${limits.socket_path_bytes_max}: set XDG_RUNTIME_DIR to a shorter one`);
  const directory = dirname(path);
  const found = lookAt(directory);
  // Nothing there: the dial says so, and a daemon may be started.
  if (found === undefined) return;
  if (!found.isDirectory()) throw unsafe(`${directory} is not a directory`);
  if (found.uid !== process.getuid?.()) throw unsafe(`${directory} belongs to another user`);
  if ((found.mode & 0o077) !== 0) throw unsafe(`${directory} is open to others (mode ${(found.mode & 0o777).toString(8)}); run chmod 700 on it`);
}

function lookAt(directory: string): Stats | undefined {
  try {
    return lstatSync(directory, { throwIfNoEntry: false });
  } catch (error) {
    throw unsafe(`${directory} cannot be looked at (${error instanceof Error && "code" in error ? String(error.code) : "unknown error"})`);
  }
}

const unsafe = (reason: string): SessiondError => new SessiondError("daemon_unreachable", { reason });

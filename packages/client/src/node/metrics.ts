import { request } from "node:http";
import { SessiondError } from "@sessiond/shared";
import { checkPath } from "./socket.ts";

/**
 * The daemon's figures: the one page that it has for plain HTTP besides `/healthz`, on its unix socket, for the holder of
 * the host key.
 */
const pageBytesMax = 4 * 1024 * 1024;

/** @throws SessiondError `unauthenticated`, `daemon_unreachable` (also for a daemon without that page), or the signal's reason */
export function scrape(path: string, hostKey: string, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    // Before the key is shown to whoever made another socket.
    checkPath(path);
    const headers = { host: "localhost", authorization: `Bearer ${hostKey}` };
    const failed = (reason: string): void => reject(signal.aborted ? signal.reason : new SessiondError("daemon_unreachable", { reason }));
    const asked = request({ socketPath: path, path: "/metrics", headers, signal }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (piece: string) => {
        text += piece;
        if (text.length > pageBytesMax) asked.destroy(new Error("the page has no end"));
      });
      response.once("end", () => {
        if (response.statusCode === 200) resolve(text);
        else if (response.statusCode === 401) reject(new SessiondError("unauthenticated"));
        else failed(`the daemon answers ${response.statusCode} to /metrics; update it`);
      });
      response.once("error", (error) => failed(error.message));
    });
    asked.once("error", (error: NodeJS.ErrnoException) => {
      if (signal.aborted) return reject(signal.reason);
      const nobody = error.code === "ENOENT" || error.code === "ECONNREFUSED";
      reject(new SessiondError("daemon_unreachable", nobody ? { reason: `nothing listens at ${path}`, nobody } : { reason: error.message }));
    });
    asked.end();
  });
}

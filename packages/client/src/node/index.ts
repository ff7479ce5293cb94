/** The way in for programs on Node: `connect`, `sessionFromToken`, and everything of `@sessiond/client`. */
export * from "../index.ts";
export { connect, sessionFromToken, type ConnectOptions, type ConnectRemotely, type TokenRemotely } from "./connect.ts";
export { daemonPaths, type DaemonPaths } from "./paths.ts";
export { unixSocket } from "./socket.ts";
export { runDaemon, runEntry } from "./start.ts";

import { createServer } from "node:http";
import { initTRPC } from "@trpc/server";
import { applyWSSHandler } from "@trpc/server/adapters/ws";
import { WebSocketServer } from "ws";
import { serveSide } from "../side-process.ts";
import { callsRouter } from "./calls.ts";
import { relayRouter } from "./relay.ts";

/**
 * The limit: a daemon of the same parts (tRPC, ws, zod, a unix socket, the openai client) that does the
 * same visible work and keeps no promise: no gate, no journal, no seats. Bundled as the real one is.
 *
 *   limit-daemon SOCKET
 */
const [socket = ""] = process.argv.slice(2);
const trpc = initTRPC.create();
const router = trpc.mergeRouters(callsRouter(trpc), relayRouter(trpc));
export type LimitRouter = typeof router;

const server = createServer();
applyWSSHandler({ wss: new WebSocketServer({ server, perMessageDeflate: false }), router });
server.listen(socket, () => serveSide({ socket }, () => Promise.resolve(null)));

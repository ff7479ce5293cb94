import { createServer } from "node:http";
import { initTRPC } from "@trpc/server";
import { applyWSSHandler } from "@trpc/server/adapters/ws";
import { WebSocketServer } from "ws";
import { commandsRouter } from "./commands.ts";

/**
 * The limit of what it costs to be there: what any daemon of these parts loads (tRPC, ws, zod, HTTP on a unix socket),
 * and a few calls. Another one than daemon.ts, whose routers bring what single benches need.
 *
 *   bare-daemon SOCKET
 */
const [socket = ""] = process.argv.slice(2);
const server = createServer();
const router = commandsRouter(initTRPC.create(), `${socket}.prompts`);
applyWSSHandler({ wss: new WebSocketServer({ server, perMessageDeflate: false }), router });
server.listen(socket);

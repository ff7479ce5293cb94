import { limits } from "@sessiond/shared";
import { JsonRpcPeer } from "@sessiond/shared/acp";
import type { Front } from "./front.ts";
import { clientFacts, introduction, stranger } from "./initialize.ts";
import { readOptions, type FrontOptions } from "./options.ts";
import { Lines, pump } from "./stdio.ts";

/**
 * `sessiond acp`: an ACP agent on stdin and stdout, in front of the daemon's sessions. `initialize` is answered by what is
 * here; the rest, the client library above all, is loaded behind that answer. Nothing is ever written to stderr: editors
 * show it as a fault. The end of stdin or a signal is a goodbye: sessions work on.
 */
const exitUsage = 2;

function options(): FrontOptions {
  try {
    return readOptions(process.argv.slice(3));
  } catch (error) {
    const sentence = (error instanceof Error ? error.message : String(error)).replace(/\s*\n\s*/g, " ").replace(/\.$/, "");
    process.stderr.write(`sessiond: ${sentence}. See \`sessiond acp --help\`.\n`);
    process.exit(exitUsage);
  }
}

const given = options();
process.removeAllListeners("warning");

let client = stranger;
let front: Front | null = null;
let loading: Promise<Front> | null = null;

/** Once; what comes meanwhile is done in the order in which it came. */
function load(): Promise<Front> {
  loading ??= import("./front.ts").then((loaded) => (front = new loaded.Front({ peer, options: given, limits, client })));
  return loading;
}

const lines = new Lines(process.stdout, () => void leave());
const peer = new JsonRpcPeer({
  limits,
  write: (line) => lines.write(line),
  onRequest: (method, params, request) => {
    if (method !== "initialize")
      return front === null ? load().then((loaded) => loaded.request(method, params, request)) : front.request(method, params, request);
    client = clientFacts(params);
    request.afterResponse(() => void setImmediate(() => void load()));
    return introduction;
  },
  onNotification: (method, params) => {
    if (front !== null) return front.notification(method, params);
    // Nothing was asked yet that it could be about.
    return loading?.then((loaded) => loaded.notification(method, params));
  },
});

let leaving = false;
async function leave(): Promise<void> {
  if (leaving) return;
  leaving = true;
  peer.close("the editor has gone");
  const wait = given.close === "stop" ? limits.acp_stop_wait_ms : limits.acp_detach_wait_ms;
  const late = new Promise<void>((resolve) => setTimeout(resolve, wait));
  const closed = loading?.then((loaded) => loaded.close()).catch(() => undefined);
  await Promise.race([Promise.all([closed, peer.flushed()]), late]);
  process.exit(0);
}

void peer.closed.then(leave);
for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => void leave());
process.on("uncaughtException", () => void leave());
pump(process.stdin, peer);

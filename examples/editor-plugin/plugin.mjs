// The process behind a minimal editor plugin. The editor starts it, writes commands to its stdin and reads
// events from its stdout, one JSON object a line; README.md beside this file lists both. When the editor
// goes, the session and the turn that runs in it stay.
//
//   node plugin.mjs [directory] [--model NAME] [--agent NAME] [--label TEXT]
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { connect } from "@sessiond/client/node";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { model: { type: "string" }, agent: { type: "string" }, label: { type: "string", default: "editor plugin" } },
});
const { model, agent, label } = values;

let left = false;
const tell = (event) => void (left || process.stdout.write(`${JSON.stringify(event)}\n`));
// An editor that went without a word reads nothing more; its end of stdin is what we go by.
process.stdout.on("error", () => (left = true));
const tellError = (error, id) => tell({ event: "error", id, code: error.code ?? "failed", message: error.message });

const driverOf = (seat) => seat.state.seats.find(({ role }) => role === "driver")?.label ?? null;
const questionOf = ({ approval_id, tool, preview, options }) => ({ event: "question", approval_id, tool, preview, options });

/** What an editor does with a frame; of the many kinds of events this plugin shows a few. */
function show({ event }) {
  switch (event.type) {
    case "prompt_delivered":
      return tell({ event: "prompt", prompt_id: event.prompt_id });
    case "agent_message_chunk":
      return tell({ event: "text", message_id: event.message_id, text: event.content.text });
    case "tool_call":
      return tell({ event: "tool", tool_call_id: event.tool_call_id, kind: event.kind, title: event.title, locations: event.locations ?? [] });
    case "tool_call_update":
      return tell({ event: "tool_update", tool_call_id: event.tool_call_id, status: event.status, result: event.result });
    case "plan":
      return tell({ event: "plan", entries: event.entries });
    case "approval_requested":
      return tell(questionOf(event.approval));
    case "approval_resolved":
      return tell({ event: "answered", approval_id: event.approval_id, cause: event.cause, option_id: event.option_id, by: event.by?.label });
    case "turn_ended":
      return tell({ event: "turn_ended", stop_reason: event.stop_reason, message: event.error?.message });
  }
}

/** All that happens from here on, whoever caused it; across lost links and restarts of the daemon. */
async function follow(seat) {
  for await (const event of seat.events) {
    if (event.type === "frame") {
      show(event.frame);
      continue;
    }
    // What stands now: at the beginning, and where events were missed. It replaces what was shown.
    const { status, messages, approvals, plan } = event.state;
    tell({ event: "state", status, messages: messages.slice(-20), plan });
    approvals.forEach((approval) => tell(questionOf(approval)));
  }
}

/** Who drives, and whether the daemon is there: told when it changes. */
function followSeat(seat) {
  let last = "";
  const look = () => {
    const now = { event: "seat", role: seat.role, driver: driverOf(seat), connection: seat.connection };
    if (JSON.stringify(now) === last) return;
    last = JSON.stringify(now);
    tell(now);
  };
  look();
  seat.onChange(look);
}

/** `takeDriver` gives the wheel that we have, takes it where it is free, and else fails with the name of who drives. */
const commands = {
  prompt: async (seat, { text, id, when_busy: whenBusy }) => {
    const { stopReason, text: answer, error } = await (await seat.takeDriver()).prompt(text, { whenBusy });
    tell({ event: "done", id, stop_reason: stopReason, text: answer, message: error?.message });
  },
  approve: async (seat, { approval_id, option_id, reason }) => {
    const approval = seat.state.approvals.find((open) => open.approval_id === approval_id);
    if (approval === undefined) throw new Error("this question is not open any more");
    await (await seat.takeDriver()).approve(approval, { optionId: option_id, reason });
  },
  interrupt: async (seat) => void (await (await seat.takeDriver()).interrupt()),
  take: async (seat, { how }) => void (await seat.takeDriver({ how })),
  yield: async (seat) => {
    if (seat.role === "driver") await (await seat.takeDriver()).yieldDriver();
  },
};

async function obey(seat, line) {
  let id;
  try {
    const command = JSON.parse(line);
    id = command.id;
    if (!Object.hasOwn(commands, command.command)) throw new Error(`there is no such command; there are: ${Object.keys(commands).join(", ")}`);
    await commands[command.command](seat, command);
  } catch (error) {
    tellError(error, id);
  }
}

const host = await connect({ clientName: label }); // finds the daemon, or starts it
try {
  const session = await host.sessionForWorkdir(resolve(positionals[0] ?? "."), { model, agent });
  const seat = await session.attach({ as: "driver", fallback: "viewer", label });
  tell({ event: "ready", session_id: session.id, workdir: session.workdir, created: session.created, differs: session.differs });
  followSeat(seat);
  const lines = createInterface({ input: process.stdin });
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) process.once(signal, () => lines.close());
  // A command is not waited for: the next may be the answer to what it asks.
  lines.on("line", (line) => void obey(seat, line));
  const gone = new Promise((done) => lines.once("close", done));
  const over = follow(seat).then(() => tell({ event: "ended" }), tellError);
  // Until the editor goes, or the session's life ends.
  await Promise.race([gone, over]);
} catch (error) {
  tellError(error);
  process.exitCode = 1;
} finally {
  left = true; // what a prompt under way is told of our going is nobody's news
  await host.close(); // leaves the seat; the session stays
  process.stdin.destroy();
}

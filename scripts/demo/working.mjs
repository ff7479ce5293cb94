// Steps 4 to 6: what an agent does all day. The excerpts are what stands on the watching terminal.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { check, excerpt } from "./telling.mjs";
import { until } from "./waiting.mjs";

const asked = (seat) => until("a question", seat, ({ approvals }) => approvals[0]);
const toolText = (seat, turnId) => seat.state.messages.findLast((message) => message.type === "tool" && message.turn_id === turnId).text;
const notesOf = (stage) => readFileSync(join(stage.workdir, "notes.txt"), "utf8").trim();

export const working = [
  {
    title: "The driver asks for a file. Reading inside the directory needs no permission.",
    async play({ seat, terminal, watcher, stage }) {
      const turn = await seat.prompt("read light.js");
      excerpt(await terminal.upTo(/^read: .*/m));
      await watcher.seen(seat.state.seq);
      const source = readFileSync(join(stage.workdir, "light.js"), "utf8");
      check(
        turn.stopReason === "end_turn" && toolText(seat, turn.turnId) === source,
        `the whole file was read; the watchers stand where the driver stands, at frame ${seat.state.seq}`,
      );
    },
  },
  {
    title: "An edit. It is shown to everyone, and done only after the driver's yes.",
    async play({ seat, terminal, stage }) {
      const turn = seat.prompt("edit notes.txt: red => green");
      const question = await asked(seat);
      excerpt(await terminal.upTo(/^.*\+the light is green/m));
      check(notesOf(stage) === "the light is red", "while the question is open the file is as it was");
      await seat.approve(question, { kind: "allow_once" });
      const { stopReason } = await turn;
      excerpt(await terminal.upTo(/^edit: .*/m));
      check(stopReason === "end_turn" && notesOf(stage) === "the light is green", "after the yes the file is changed");
    },
  },
  {
    title: "The project's tests. A command is asked about in the same way.",
    async play({ seat, terminal }) {
      const turn = seat.prompt("run npm test");
      const question = await asked(seat);
      await seat.approve(question, { kind: "allow_once" });
      const { turnId } = await turn;
      excerpt(await terminal.upTo(/^shell: .*/m), /^ *│( ℹ (suites|cancelled|skipped|todo|duration).*)?$/);
      const { input } = question;
      check(input.command === "npm test" && /pass 2\b/.test(toolText(seat, turnId)), "approved once, run once: 2 tests pass");
    },
  },
];

// Steps 9, 10 and 12: the daemon is killed where it hurts most, and at last asked to go.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { command } from "./stage.mjs";
import { check, excerpt, seconds, shortId } from "./telling.mjs";
import { lostAndBack, until } from "./waiting.mjs";

/** kill -9; then nobody starts a daemon by hand: those who were attached find none, and one of them does. */
async function killDaemon(tour) {
  const { stage, host, seat } = tour;
  const [pid, back] = [tour.daemon, lostAndBack(seat)];
  const begun = performance.now();
  process.kill(pid, "SIGKILL");
  await back;
  const took = performance.now() - begun;
  stage.knows((tour.daemon = (await host.status()).pid));
  stage.forget(pid);
  tour.restarts++;
  check(tour.daemon !== pid, `kill -9 ${pid}; another daemon (pid ${tour.daemon}) serves everyone ${seconds(took)} later, started by whoever missed it first`);
}

export const killedWhileAsking = {
  title: "The daemon is killed while a question is open.",
  async play(tour) {
    const { stage, seat, terminal } = tour;
    const ran = join(stage.workdir, "ran.txt");
    const turn = seat.prompt("run echo once >> ran.txt");
    const question = await until("a question", seat, ({ approvals }) => approvals[0]);
    excerpt(await terminal.upTo(/^ {2}│ in .*/m));
    await killDaemon(tour);
    excerpt(await terminal.upTo(/^sessiond: connected again/m));
    const open = seat.state.approvals;
    check(
      open.length === 1 && open[0].approval_id === question.approval_id && !existsSync(ran),
      `the question is still open under its id (${shortId(question.approval_id)}), and nothing has run`,
    );
    await seat.approve(open[0], { kind: "allow_once" });
    const { stopReason } = await turn;
    excerpt(await terminal.upTo(/^shell: .*/m));
    check(stopReason === "end_turn" && readFileSync(ran, "utf8") === "once\n", "answered, the turn goes on; the command ran exactly once");
  },
};

export const killedWhileStreaming = {
  title: "The daemon is killed in the middle of an answer.",
  async play(tour) {
    const { stage, seat, session, terminal } = tour;
    const said = () => seat.state.messages.findLast((message) => message.type === "agent").text;
    const turn = seat.prompt("stream 2000 every 5");
    await until("some numbers", seat, ({ turn: running }) => running !== null && said().includes("80 "));
    const seen = said();
    await killDaemon(tour);
    const { stopReason, turnId } = await turn;
    excerpt(await terminal.upTo(/^■ .*/m));
    check(stopReason === "interrupted", "the turn ended `interrupted`: an answer cannot be continued from its middle, and is not begun again unasked");
    const kept = stage
      .journal(session.id)
      .map((line) => JSON.parse(line).event)
      .filter((event) => event.type === "agent_message_chunk" && event.turn_id === turnId);
    const text = kept.map((event) => event.content.text).join("");
    check(text.startsWith(seen) && said() === text, `all ${count(seen)} numbers that had been shown are in the journal (${count(text)} are kept)`);
  },
};

const count = (text) => text.trim().split(/\s+/).length;

export const down = {
  title: "The daemon is asked to go.",
  async play({ stage, host, daemon, watcher, seat }) {
    await watcher.seen(seat.state.seq);
    await host.close();
    const { code, stdout } = await stage.run(command, ["down"]);
    const status = await stage.run(command, ["status"]);
    excerpt(`$ sessiond down\n${stdout}$ sessiond status\n${status.stderr}`);
    stage.forget(daemon);
    check(code === 0 && status.code === 4 && !existsSync(stage.socket), "it is gone, and nobody who was attached brings it back; the session is on disk");
  },
};

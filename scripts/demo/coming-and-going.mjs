// Steps 7, 8 and 11: who may be where, and that leaving costs nothing.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { command } from "./stage.mjs";
import { check, excerpt, seconds } from "./telling.mjs";
import { until, within } from "./waiting.mjs";
import { Watcher } from "./watcher.mjs";

const streamed = (state, turnId) => state.messages.findLast((message) => message.type === "agent" && message.turn_id === turnId)?.text ?? "";

export const secondDriver = {
  title: "Somebody else wants to drive.",
  async play({ stage, seat }) {
    const before = seat.state.turns;
    const { code, stderr } = await stage.run(command, ["run", "run rm notes.txt"]);
    excerpt(`$ sessiond run "run rm notes.txt"\n${stderr}`);
    check(
      code === 5 && stderr.includes("the demo") && seat.role === "driver" && seat.state.turns === before,
      `refused (exit code ${code}) and told who drives; nothing was sent`,
    );
  },
};

export const leavingAndBack = {
  title: "The driver leaves in the middle of an answer, and comes back when it is over.",
  async play(tour) {
    const { seat, session, watcher, terminal } = tour;
    const { turnId } = await seat.sendPrompt("stream 60 every 10");
    await until("some numbers", seat, (state) => streamed(state, turnId).includes("15 "));
    await seat.detach();
    const left = seat.state.seq;
    await watcher.met(({ event }) => event.type === "turn_ended" && event.turn_id === turnId);
    tour.seat = await session.attach({ as: "driver", label: "the demo" });
    excerpt(await terminal.upTo(/^— the demo is the driver now/m));
    const missed = await pagesAfter(session, left);
    const whole = streamed(tour.seat.state, turnId);
    await watcher.seen(missed.at(-1).seq);
    const complete = missed.every(({ seq }, at) => seq === left + 1 + at) && missed.every((frame) => watcher.frames.get(frame.seq) === JSON.stringify(frame));
    check(whole.trim().split(/\s+/).length === 60, "the turn went on without a driver: all 60 numbers are there");
    check(complete, `it had seen frame ${left} and asked for what came after: ${missed.length} frames, those that the watcher was given meanwhile`);
  },
};

async function pagesAfter(session, cursor) {
  const frames = [];
  for (;;) {
    const page = await session.data({ after: frames.at(-1)?.seq ?? cursor });
    frames.push(...page.frames);
    if (!page.more) return frames;
  }
}

export const revoked = {
  title: "A guest watches with a token of its own, which is then revoked.",
  async play({ stage, session, watcher, seat }) {
    const minted = await stage.run(command, ["token", "mint", "--view", "--label", "a guest"]);
    const file = join(stage.workdir, "guest-token");
    writeFileSync(file, minted.stdout, { mode: 0o600 });
    excerpt(`$ sessiond token mint --view --label "a guest" > guest-token\n${minted.stderr}`);
    const guest = new Watcher(stage, ["--token-file", "guest-token"]);
    await guest.ready();
    const refused = await stage.run(command, ["attach", "--token-file", "guest-token"]);
    excerpt(`$ sessiond attach --token-file guest-token\n${refused.stderr}`);
    check(refused.code === 6, `a view token cannot drive (exit code ${refused.code})`);
    const begun = performance.now();
    await session.revokeToken(/tok_\w+/.exec(minted.stderr)[0]);
    const code = await within("the guest is cut off", guest.ended);
    const took = performance.now() - begun;
    excerpt(`$ sessiond attach --view --token-file guest-token\n${guest.said}`);
    check(code === 6, `cut off and gone ${seconds(took)} after the revocation (exit code ${code})`);
    await watcher.seen(seat.state.seq);
    check(watcher.child.exitCode === null && seat.connection === "live", "nobody else noticed");
  },
};

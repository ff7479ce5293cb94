// Steps 1 to 3: from no daemon at all to a driver and two watchers.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { connect } from "@sessiond/client/node";
import { command } from "./stage.mjs";
import { check, excerpt, seconds, shortId } from "./telling.mjs";
import { Terminal } from "./terminal.mjs";
import { Watcher } from "./watcher.mjs";

const script = fileURLToPath(new URL("./ask-session.mjs", import.meta.url));

async function askSession(stage) {
  const { code, stdout, stderr } = await stage.run(script);
  if (code !== 0) throw new Error(`the script ended with ${code}: ${stderr.trim()}`);
  return JSON.parse(stdout);
}

export const beginning = [
  {
    title: "A script asks for the session of this directory. No daemon runs.",
    async play(tour) {
      const { stage } = tour;
      if (existsSync(stage.socket)) throw new Error("a daemon runs already");
      excerpt('const host = await connect();\nconst session = await host.sessionForWorkdir(process.cwd(), { model: "practice" });');
      const begun = performance.now();
      tour.first = await askSession(stage);
      const took = performance.now() - begun;
      tour.host = await connect({ env: stage.env, bin: command, clientName: "the demo" });
      const { pid, started_by } = await tour.host.status();
      stage.knows((tour.daemon = pid));
      check(tour.first.created && started_by === "client", `the daemon started by itself (pid ${pid}); the session was there after ${seconds(took)}`);
    },
  },
  {
    title: "Two more scripts ask at the same moment.",
    async play({ stage, first, host }) {
      const asked = await Promise.all([askSession(stage), askSession(stage)]);
      excerpt([first, ...asked].map(({ id, created }, at) => `script ${at + 1}: ${shortId(id)} ${created ? "created" : "found"}`).join("\n"));
      const { sessions } = await host.listSessions();
      const same = asked.every(({ id, created, bootId }) => id === first.id && !created && bootId === first.bootId);
      check(same && sessions.length === 1, "3 processes, 1 daemon, 1 session: a directory has one session, whoever asks");
    },
  },
  {
    title: "Here sits the driver. In other processes a terminal watches, and a program.",
    async play(tour) {
      const { stage, host } = tour;
      tour.session = await host.sessionForWorkdir(stage.workdir);
      tour.seat = await tour.session.attach({ as: "driver", label: "the demo" });
      tour.watcher = new Watcher(stage);
      await tour.watcher.ready();
      tour.terminal = new Terminal(stage);
      excerpt(`$ sessiond attach --view\n${await tour.terminal.upTo(/^— watching .*/m)}`);
      const { seats } = await tour.session.info();
      const roles = seats
        .map(({ role }) => role)
        .sort()
        .join(", ");
      check(roles === "driver, viewer, viewer", `3 seats: ${roles}. The program keeps every frame it is given (step 13)`);
    },
  },
];

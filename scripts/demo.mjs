// A tour of sessiond in one terminal: the real command, the real daemon and the client library, on a copy of
// examples/tiny-project, with the practice model. Every step checks what it shows. Run it by `npm run demo`.
import { existsSync } from "node:fs";
import { beginning } from "./demo/beginning.mjs";
import { killedWhileAsking, killedWhileStreaming, down } from "./demo/breaking.mjs";
import { leavingAndBack, revoked, secondDriver } from "./demo/coming-and-going.mjs";
import { compare } from "./demo/comparing.mjs";
import { command, Stage } from "./demo/stage.mjs";
import { broke, check, plain, seconds, step, title } from "./demo/telling.mjs";
import { working } from "./demo/working.mjs";

const steps = [...beginning, ...working, secondDriver, leavingAndBack, killedWhileAsking, killedWhileStreaming, revoked, down];

if (!existsSync(command)) {
  console.error("demo: nothing is built yet; run it by `npm run demo`");
  process.exit(1);
}

const begun = performance.now();
const stage = new Stage();
// However this ends: nothing of it stays.
process.once("exit", () => stage.clear());
for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
])
  process.once(signal, () => process.exit(code));

title("sessiond: a daemon owns the coding agent's sessions; clients come and go, and nothing is lost.");
plain(`Played on a copy of examples/tiny-project in ${stage.home}, removed at the end.`);
plain("The practice model: no key, no network. │ what somebody types or sees  ✓ what was checked");

const tour = { stage, restarts: 0 };
let number = 0;
try {
  for (const { title: what, play } of steps) {
    step(++number, what);
    await play(tour);
  }
  step(++number, "What the watching program was given, beside what lies on disk.");
  compare(tour, check);
} catch (error) {
  broke(number, error);
  process.exit(1);
}
plain(`\n${number} steps, all as promised, in ${seconds(performance.now() - begun)}. Next: README.md, and examples/.`);
process.exit(0);

// Records two terminals and one script on one session, with the built command and the practice model in a home of
// its own, and writes what they showed to docs/two-terminals.md. Needs tmux.
//
//   node scripts/record-two-terminals.mjs [file]
import { existsSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { command, Stage } from "./demo/stage.mjs";
import { Panes } from "./record/panes.mjs";

const root = resolve(import.meta.dirname, "..");
const target = resolve(process.argv[2] ?? join(root, "docs/two-terminals.md"));
if (!existsSync(command)) {
  console.error("record: nothing is built yet; run it by `npm run setup`, or node scripts/build.mjs");
  process.exit(1);
}

const stage = new Stage();
const bin = join(stage.home, "bin");
mkdirSync(bin);
symlinkSync(command, join(bin, "sessiond"));
Object.assign(stage.env, { PATH: `${bin}:${stage.env.PATH}`, SESSIOND_MODEL: "practice" });
const panes = new Panes(stage.home, stage.env);
process.once("exit", () => {
  panes.close();
  stage.clear();
});
for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
])
  process.once(signal, () => process.exit(code));

// --- What is played ------------------------------------------------------------------------------

const ada = panes.open("ada", stage.workdir);
const bo = panes.open("bo", stage.workdir);
const script = panes.open("script", stage.workdir);
const seats = [
  { pane: ada, title: "ada's terminal" },
  { pane: bo, title: "bo's terminal" },
  { pane: script, title: "a script, or a third shell" },
];

const atPrompt = /\n>$/;
/** A command in the script's shell, to its end. */
async function shell(text, says) {
  script.line(text);
  await script.shows(new RegExp(`${says.source}[^]*\\n\\$$`, "m"));
}

const steps = [
  {
    says: "Ada works. The agent may read, but a command asks first.",
    async play() {
      ada.line("sessiond run --label ada");
      await ada.shows(atPrompt);
      ada.line("read notes.txt then run wc -l notes.txt then say counted");
      await ada.shows(/Allow this\?/);
    },
  },
  {
    says: "A script has waited for just that. Bo comes to help, and asks for the wheel.",
    async play() {
      await shell("sessiond wait approval --timeout 30s", /^approval /);
      bo.line("sessiond take --ask --label bo");
      await bo.shows(/asking ada for the wheel/);
      await ada.shows(/bo asks for the wheel[^]*Allow this\?[^]*$/);
    },
  },
  {
    says: "Ada gives it. The question is now bo's, unchanged; bo allows the command for this session. Ada's turn goes on.",
    async play() {
      ada.line("/yield");
      await bo.shows(/Allow this\?/);
      bo.line("s");
      await bo.shows(/\ncounted\n>$/);
      await ada.shows(/\ncounted$/);
    },
  },
  {
    says: "Bo lets go of the wheel, so that a script can have it for a moment: it sends a prompt, and steers the turn while it runs. Both terminals watch.",
    async play() {
      bo.line("/yield");
      await ada.shows(/bo let go of the wheel/);
      await bo.shows(/nobody drives/);
      await shell('sessiond send "wait 8000 then run wc -l notes.txt"', /^started /);
      await shell('sessiond send --steer "say the script was here"', /^steering /);
      await shell("sessiond wait --timeout 60s", /^idle$/);
      await ada.shows(/^the script was here$/m);
      await bo.shows(/^the script was here$/m);
    },
  },
  {
    says: "The command was not asked again: bo's answer is remembered, listed, and can be forgotten.",
    async play() {
      await shell("sessiond rules list", /allow shell: wc -l notes\.txt/);
      await shell(`sessiond rules forget ${/rul_\w+/.exec(script.screen())[0]}`, /^forgotten /);
      await ada.shows(/was forgotten/);
    },
  },
  {
    says: "Ada takes the wheel back, gives the session a name, and leaves. The session stays.",
    async play() {
      ada.line("/take");
      await ada.shows(/you drive now/);
      ada.line("/title the light");
      await ada.shows(/set the title/);
      ada.line("/detach");
      await ada.shows(/\n\$$/);
      await bo.shows(/ada left/);
      bo.press("C-d");
      await bo.shows(/\n\$$/);
      await shell("sessiond ls", /the light/);
    },
  },
];

// --- What is written -----------------------------------------------------------------------------

/** Ids, processes, ages and directories are another's each time. */
const anyones = (text) =>
  text
    .replaceAll(stage.workdir, "/home/me/app")
    .replaceAll(/\b(apr|ses|prm|rul)_\w+/g, (_all, kind) => `${kind}_${{ apr: "Npn4Wrym", ses: "6x6CzJCt", prm: "gpN3z902", rul: "ThKFWYJz" }[kind]}`)
    .replaceAll(/\bpid \d+/g, "pid 4711")
    .replaceAll(/\b\d+ (?:ms|s|min)(?: \d+ s)? ago +/g, "20 s ago  ")
    .replaceAll(/GIVEN +/g, "GIVEN     ");

const parts = [];
try {
  for (const { says, play } of steps) {
    await play();
    parts.push(`${says}\n`);
    for (const { pane, title } of seats) {
      const lines = pane.take().filter((line, at, all) => !(at === all.length - 1 && (line === "$" || line === ">")));
      const text = anyones(lines.join("\n")).replace(/^\n+/, "").trimEnd();
      if (text !== "") parts.push(`*${title}*\n\n\`\`\`console\n${text}\n\`\`\`\n`);
    }
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}

const head = `# Two terminals and a script on one session

Recorded by \`node scripts/record-two-terminals.mjs\`: real terminals (tmux), the built command, the practice model. Only ids, process numbers, ages and directories are replaced. A test records it again and compares.
`;
writeFileSync(target, `${head}\n${parts.join("\n")}`);
console.log(`record: ${target}`);
process.exit(0);

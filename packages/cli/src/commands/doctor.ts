import type { Command } from "commander";
import { isSessiondError, type DaemonStatus } from "@sessiond/client";
import { limits, version, type Finding } from "@sessiond/shared";
import { spoken } from "../duration.ts";
import { exitCodes, sentenceOf } from "../exit-codes.ts";
import { jsonOption, withExamples } from "../options.ts";
import { reach } from "../reach.ts";
import { lookAfter, remains, showFinding } from "../recovery.ts";
import { colourOn, foreignLine, jsonLine, painted } from "../screen.ts";

interface Options {
  readonly fix?: true;
  readonly json?: true;
}

export function declare(command: Command): void {
  withExamples(
    command
      .option("--fix", "mend what is safe to mend, and say what was done")
      .addOption(jsonOption("print one object"))
      .addHelpText(
        "after",
        "\nLooks at the daemon, or at what a dead one left, and starts none. --fix ends processes of earlier daemons, removes a dead daemon's socket, files of writes that were cut short and folders of sessions that never came to be, and takes back rights that others have; it never deletes a conversation. Beside a running daemon it does only what is safe there. Exit code 0: healthy, 1: something is wrong still.",
      ),
    "sessiond doctor",
    "sessiond doctor --fix",
    "sessiond doctor --json | jq '.findings[].mend'",
  ).action((options: Options) => doctor(options));
}

async function doctor({ fix, json }: Options): Promise<void> {
  const daemon = await asked();
  const findings: Finding[] = [];
  const facts = new Map<string, string>();
  const silent = isSessiondError(daemon.refusal, "timeout") ? ["--silent"] : [];
  const running = daemon.status === null ? silent : ["--pid", String(daemon.status.pid), "--boot", daemon.status.boot_id];
  await lookAfter(["doctor", ...(fix ? ["--fix"] : []), ...running], (line) => {
    if (line.type === "fact") facts.set(line.name, line.value);
    if (line.type === "finding") findings.push(line.finding);
  });
  if (daemon.status !== null) facts.set("daemon", words(daemon.status));
  const all = [...daemonFindings(daemon, findings), ...findings];
  facts.set("journals", "not read here; `sessiond verify` reads them");
  const healthy = !all.some(remains);
  process.exitCode = healthy ? exitCodes.done : exitCodes.failed;
  if (json) return void process.stdout.write(jsonLine({ healthy, facts: Object.fromEntries(facts), findings: all, daemon: daemon.status }));
  const colour = colourOn(process.stdout);
  for (const [name, value] of facts) process.stdout.write(`${painted(name.padEnd(10), "dim", colour)}  ${foreignLine(value)}\n`);
  for (const finding of all) showFinding(process.stdout, finding);
  process.stdout.write(`${closing(all, fix === true)}\n`);
}

interface Asked {
  readonly status: DaemonStatus | null;
  /** Why it could not be asked, where somebody is there. */
  readonly refusal: unknown;
}

async function asked(): Promise<Asked> {
  try {
    const host = await reach("doctor", {}, { autoStart: false, timeoutMs: limits.doctor_wait_ms });
    return { status: await host.status({ timeoutMs: limits.doctor_wait_ms }), refusal: null };
  } catch (error) {
    return { status: null, refusal: error };
  }
}

/** What the daemon says of itself, without what was found here too. */
function daemonFindings({ status, refusal }: Asked, found: readonly Finding[]): Finding[] {
  if (status === null) {
    // Nobody is there, or who is there answers nobody: the look at the files says so better.
    const told = found.some(({ kind }) => kind === "daemon_silent" || kind === "socket" || kind === "lock" || kind === "place" || kind === "setup");
    if (isSessiondError(refusal, "daemon_unreachable") || (isSessiondError(refusal, "timeout") && told)) return [];
    return [
      {
        kind: "daemon_problem",
        weight: "wrong",
        what: `the daemon that runs cannot be asked: ${sentenceOf(refusal)}`,
        mend: "see the line above; `sessiond up --foreground` shows why a start fails",
      },
    ];
  }
  const wrong = { weight: "wrong" } as const;
  const other: Finding[] =
    status.version === version
      ? []
      : [
          {
            ...wrong,
            kind: "daemon_version",
            what: `the daemon runs version ${status.version}, and this is ${version}`,
            mend: "`sessiond down`; the next command starts the one beside it",
          },
        ];
  const known = ({ what }: { readonly what: string }): boolean =>
    found.some((one) => one.what === what || (one.path !== undefined && what.startsWith(`${one.path} was set aside`)));
  return [...other, ...status.problems.filter((problem) => !known(problem)).map((problem): Finding => ({ ...wrong, kind: "daemon_problem", ...problem }))];
}

function words({ pid, version: its, started_at, started_by, ready, draining }: DaemonStatus): string {
  const state = draining ? "shutting down" : ready ? "running" : "starting";
  return `${state}, pid ${pid}, version ${its}, up ${spoken(Date.now() - started_at)}, started by ${started_by === "hand" ? "hand" : "a client"}`;
}

function closing(findings: readonly Finding[], fixed: boolean): string {
  const left = findings.filter(remains);
  const done = findings.filter(({ fix }) => fix === "done").length;
  const mended = done > 0 ? `${done} mended; ` : fixed ? "nothing to mend by itself; " : "";
  if (left.length === 0) return `${done > 0 ? mended : ""}healthy`;
  const can = left.filter(({ fix }) => fix === "can").length;
  const rest = `${left.length} ${left.length === 1 ? "thing is" : "things are"} wrong${fixed ? " still" : ""}`;
  return `${mended}${rest}${can > 0 && !fixed ? `; \`sessiond doctor --fix\` mends ${can === left.length ? "all of it" : `${can} of them`}` : ""}`;
}

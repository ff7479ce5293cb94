import { lstat } from "node:fs/promises";
import type { AuditCounts } from "../audit.ts";
import type { Host } from "./host.ts";

/** What `daemon_status` says is wrong, each with how to mend it; looked up when it is asked. */
export interface Problem {
  readonly what: string;
  readonly mend: string;
}

/** What the daemon keeps to itself, and what of it others must not have. */
export interface Places {
  readonly socket: string;
  readonly directories: readonly string[];
  readonly files: readonly string[];
}

/** What its sessions, files and agents lack, at this instant. */
export const problemsOf = (host: Host, audit: AuditCounts): Problem[] => [...sessionProblems(host), ...auditProblems(audit), ...agentProblems(host)];

/** What is wrong with where it lives. */
export async function placeProblems({ socket, directories, files }: Places): Promise<Problem[]> {
  const closed = [...directories.map((path) => openPlace(path, "700")), ...files.map((path) => openPlace(path, "600"))];
  return (await Promise.all([socketProblem(socket), ...closed])).flat();
}

function sessionProblems({ awake, unopened, options }: Host): Problem[] {
  const faulted = awake.flatMap(({ id, log }) => (log.room.fault === undefined ? [] : [{ id, reason: log.room.fault.reason }]));
  return [
    ...faulted.map(({ id, reason }) => ({
      what: `${id} cannot write its journal: ${reason}`,
      mend: "make room on the disk, or mend it; the session reopens by itself",
    })),
    ...[...unopened].map(([id, reason]) => ({
      what: `${id} could not be opened at the start: ${reason}`,
      mend: "mend the disk; the next call on the session tries again",
    })),
    ...options.store.setAside.map(({ path, reason }) => ({
      what: `${path} was set aside: ${reason}`,
      mend: "nothing of it was deleted: look at it, then move it away",
    })),
  ];
}

function auditProblems({ failed, last_failure }: AuditCounts): Problem[] {
  if (failed === 0) return [];
  return [
    {
      what: `${failed} ${failed === 1 ? "line" : "lines"} of the audit file could not be written (${last_failure ?? "the disk was too slow"})`,
      mend: "look at the disk, and at who may write audit.jsonl in the state directory",
    },
  ];
}

function agentProblems(host: Host): Problem[] {
  return host.agents().flatMap(({ name, unavailable }) => (unavailable === null ? [] : [{ what: `the agent ${name} cannot run a prompt`, mend: unavailable }]));
}

/** Whoever removes the socket's name takes the daemon from everyone who is not connected yet. */
async function socketProblem(socket: string): Promise<Problem[]> {
  const found = await lstat(socket).catch(() => null);
  if (found?.isSocket() === true) return [];
  const mend = `end this daemon (kill ${process.pid}) and start another with \`sessiond up\`; the sessions go on`;
  return [{ what: `${socket} is ${found === null ? "gone" : "no socket"}: nobody new finds this daemon`, mend }];
}

/** Whether it is open to others, or not there. */
export async function openPlace(path: string, mode: "600" | "700"): Promise<Problem[]> {
  const found = await lstat(path).catch(() => null);
  if (found === null) return [{ what: `${path} cannot be looked at`, mend: "see whether it was moved or removed, and start the daemon again" }];
  const wrong = found.uid !== process.getuid?.() ? "belongs to another account" : (found.mode & 0o077) !== 0 ? "is open to other accounts" : null;
  return wrong === null ? [] : [{ what: `${path} ${wrong}`, mend: `make it your own, and run: chmod ${mode} ${path}` }];
}

import { resolve } from "node:path";
import { isSessiondError, type Host, type Sandbox, type Session } from "@sessiond/client";
import { Failure } from "./exit-codes.ts";
import type { Policy } from "./policies.ts";
import { policyWords } from "./policies.ts";
import { foreignLine } from "./screen.ts";

/** How a life of the session begins, where this command begins one. */
export interface Start {
  readonly workdir?: string;
  readonly model?: string;
  readonly agent?: string;
  readonly title?: string;
  readonly policy?: Policy;
  readonly sandbox?: Sandbox;
}

/** A life in a weaker sandbox is not joined by who asks for a stronger one: it is looked at, and nothing is done in it. */
async function joined(host: Host, directory: string, { model, agent, title, policy, sandbox }: Omit<Start, "workdir">) {
  try {
    const session = await host.sessionForWorkdir(directory, { model, agent, title, policy, sandbox });
    return { session, differs: session.differs.filter((name) => name !== "env") };
  } catch (error) {
    if (sandbox === undefined || !isSessiondError(error, "conflict")) throw error;
    const session = await host.sessionForWorkdir(directory, { model, agent, title, policy });
    return { session, differs: [...session.differs.filter((name) => name !== "env" && name !== "sandbox"), "sandbox" as const] };
  }
}

/** The one session of a directory. @throws Failure usage, where its life began otherwise than was asked for */
export async function startedSession(host: Host, { workdir = ".", ...options }: Start): Promise<Session> {
  const directory = resolve(workdir);
  const { model, agent, title, policy, sandbox } = options;
  const { session, differs } = await joined(host, directory, options);
  if (differs.length === 0) return session;
  const facts = await session.info();
  // A life in which nothing was ever done is no loss: the first try of somebody who had named no model yet.
  if (facts.turns === 0 && facts.queue.length === 0 && facts.seats.length === 0) {
    await session.stop();
    return host.sessionForWorkdir(directory, { model, agent, title, policy, sandbox });
  }
  const values = { ...facts, title: facts.title ?? "", policy: policyWords(facts.policy) };
  const kept = differs.map((name) => `${name} ${foreignLine(values[name]) || "(none named)"}`).join(" and ");
  const settable = differs.every((name) => name === "title" || name === "policy" || name === "model");
  throw new Failure(
    "usage",
    settable
      ? `This session's life began with ${kept} and keeps it. \`sessiond set\` changes that, or \`sessiond stop\` ends that life, and this command begins the next one.`
      : `This session's life began with ${kept} and keeps it. \`sessiond stop\` ends that life; its conversation is kept, and this command then begins the next one.`,
  );
}

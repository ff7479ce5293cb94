import {
  envRefusal,
  holdsSecret,
  isSessiondError,
  limits,
  SessiondError,
  type AgentOption,
  type KeyId,
  type Sandbox,
  type SessionId,
  type VerbOutput,
  type VerbParsed,
} from "@sessiond/shared";
import { mintId } from "../ids.ts";
import type { Session } from "../session/session.ts";
import { absentWords } from "../session/turns.ts";
import { isSamePolicy } from "../session/settings.ts";
import type { Host } from "./host.ts";
import type { RegistryEntry } from "./registry-file.ts";
import type { Tokens } from "./tokens.ts";
import type { Reach } from "./reach.ts";
import { resolveWorkdir } from "./workdir.ts";

/**
 * How lives begin: a new session, the next life of a stopped one, or joining the one that runs.
 * A creation has one commit point, its registry entry; what comes before is undone when a step fails.
 */
type Started = VerbOutput<"start_session">;
type LifeOptions = Pick<VerbParsed<"start_session">, "agent" | "model" | "title" | "policy" | "sandbox" | "env">;
type Env = Readonly<Record<string, string>>;
type Chosen = Pick<LifeOptions, "title" | "policy" | "sandbox"> & { readonly agent: string; readonly model: string };
/** Who asked, and as what the token is for. */
interface Asker {
  readonly label: string;
  readonly reach: Reach;
}
type Minted = Awaited<ReturnType<Tokens["mint"]>>;

export class Starts {
  readonly #host: Host;
  /** Sessions that are being made: they take up room already. */
  readonly #making = new Map<SessionId, KeyId>();

  constructor(host: Host) {
    this.#host = host;
  }

  /** @throws SessiondError workdir_invalid, model_unknown, storage_failed, limit_reached; conflict when it runs in a weaker sandbox than was asked for */
  async startOrGet(input: VerbParsed<"start_or_get_for_workdir">, reach: Reach): Promise<Started> {
    this.#mustAllow(input.env);
    const workdir = await resolveWorkdir(input.workdir, this.#host.options.workdirs, reach);
    return this.#host.serial.run(`workdir ${workdir}`, async () => {
      const entry = this.#host.options.registry.stableOf(workdir);
      if (entry === undefined) return this.#create(workdir, input, { stable: true, reach });
      return this.#host.serial.run(entry.id, () => this.#startOrJoin(entry, input, { label: "start", reach }));
    });
  }

  /** @throws SessiondError as startOrGet; not_found; conflict when the request id was used for another start; bad_request */
  async start(input: VerbParsed<"start_session">, reach: Reach): Promise<Started> {
    if ((input.workdir === undefined) === (input.session_id === undefined))
      throw new SessiondError("bad_request", { reason: "give either workdir or session_id" });
    this.#mustAllow(input.env);
    const workdir = input.workdir === undefined ? undefined : await resolveWorkdir(input.workdir, this.#host.options.workdirs, reach);
    await this.#mustLieWithin(input.session_id, reach);
    return this.#host.serial.run(`request ${input.request_id}`, async () => {
      const known = this.#host.options.registry.byRequest(input.request_id, reach.keyId);
      const entry = input.session_id === undefined ? known : this.#host.entry(input.session_id);
      if (known !== undefined && (entry?.id !== known.id || (workdir !== undefined && workdir !== known.workdir)))
        throw new SessiondError("conflict", { reason: "this request_id started another session" });
      if (entry !== undefined) return this.#host.serial.run(entry.id, () => this.#startOrJoin(entry, input, { label: input.request_id, reach }));
      if (workdir === undefined) throw new SessiondError("not_found", { what: "session" });
      return this.#create(workdir, input, { stable: false, requestId: input.request_id, reach });
    });
  }

  /** A directory may be another than it was: a link by now, out of the roots of who asks. @throws SessiondError workdir_invalid */
  async #mustLieWithin(sessionId: SessionId | undefined, reach: Reach): Promise<void> {
    const entry = reach.roots === null || sessionId === undefined ? undefined : this.#host.entry(sessionId);
    if (entry !== undefined) await resolveWorkdir(entry.workdir, this.#host.options.workdirs, reach);
  }

  /** @throws SessiondError bad_request with the variable's name and why, never its value */
  #mustAllow(env: Env = {}): void {
    const names = Object.keys(env);
    if (names.length > limits.env_vars_max)
      throw new SessiondError("bad_request", { reason: `env has ${names.length} variables, more than ${limits.env_vars_max}` });
    for (const name of names) {
      const refusal = envRefusal(name, this.#host.options.envAllow) ?? (env[name]?.includes("\0") ? "its value holds a NUL character" : null);
      if (refusal === null) continue;
      // A secret in the place of the name is not repeated.
      throw new SessiondError("bad_request", { reason: `the variable ${holdsSecret(name) ? "…" : name} may not go with a start: ${refusal}` });
    }
  }

  /** @returns gives the place back, which the registry knows of by then. @throws SessiondError limit_reached */
  #takeRoom(id: SessionId, keyId: KeyId | undefined): () => void {
    if (keyId === undefined) return () => undefined;
    const { sessions_per_key_max } = this.#host.options.limits;
    const own = this.#host.options.registry.all().filter((entry) => entry.begun_by === keyId && !entry.stopped && !this.#making.has(entry.id)).length;
    const making = [...this.#making.values()].filter((maker) => maker === keyId).length;
    if (own + making >= sessions_per_key_max)
      throw new SessiondError("limit_reached", { limit: "sessions_per_key_max", value: sessions_per_key_max, unit: "sessions", hint: "stop one" });
    this.#making.set(id, keyId);
    return () => void this.#making.delete(id);
  }

  /** @throws SessiondError model_unknown; agent_unavailable where there is no such agent; unsupported when its commands cannot have the sandbox that was asked for: they never run without */
  async #choose(options: LifeOptions, told: readonly AgentOption[] | null = null): Promise<Chosen> {
    const agent = options.agent ?? this.#host.options.defaultAgent;
    const kind = this.#host.options.kinds.get(agent);
    if (kind === undefined) throw new SessiondError("agent_unavailable", { reason: absentWords(agent) });
    const model = options.model ?? kind.defaultModel;
    if (!kind.knowsModel(model, told)) throw new SessiondError("model_unknown", { model });
    const { title, policy, sandbox = this.#host.options.defaultSandbox } = options;
    if (sandbox !== "off") {
      const missing = kind.whyNoSandbox === undefined ? `the agent ${agent} has no sandbox for its commands` : await kind.whyNoSandbox();
      if (missing !== null) throw new SessiondError("unsupported", { reason: missing });
    }
    return { agent, model, ...(title !== undefined && { title }), ...(policy !== undefined && { policy }), ...(sandbox !== "off" && { sandbox }) };
  }

  /** Directory, journal, session.json, first frame, then the registry entry: until that is on disk nothing has happened. */
  async #create(workdir: string, options: LifeOptions, kind: { stable: boolean; requestId?: string; reach: Reach }): Promise<Started> {
    const { keyId } = kind.reach;
    const chosen = await this.#choose(options);
    if (this.#host.draining) throw new SessiondError("shutting_down");
    const { clock } = this.#host.options;
    const entry: RegistryEntry = {
      id: mintId("ses"),
      workdir,
      stable: kind.stable,
      life: 1,
      stopped: false,
      created_at: clock.now(),
      ...(kind.requestId !== undefined && { request_id: kind.requestId }),
      ...(keyId !== undefined && { key_id: keyId, begun_by: keyId }),
    };
    const leave = this.#takeRoom(entry.id, keyId);
    const made = this.#make(entry, chosen, kind.reach, options.env).finally(leave);
    // A daemon that drains waits for it, as for every other opening.
    const session = await this.#host.opens(
      entry.id,
      made.then(({ session }) => session),
    );
    const { token, record } = (await made).minted;
    return { session: session.info(), token, token_id: record.token_id, created: true, differs: [] };
  }

  async #make(entry: RegistryEntry, chosen: Chosen, reach: Reach, env: Env = {}): Promise<{ session: Session; minted: Minted }> {
    const { store, registry } = this.#host.options;
    let opened: Session | null = null;
    let committing = false;
    try {
      const { session, log } = await this.#host.open(entry, reach.keyId);
      opened = session;
      const { tokens } = await this.#host.credentials.of(entry);
      const label = entry.request_id ?? "start";
      const minted = await tokens.mint({ right: "control", label, life: 1, origin: "start", keyId: entry.key_id, env, by: reach });
      await log.durable(session.begin(entry.workdir, chosen));
      reach.mustStand();
      committing = true;
      await registry.add(entry);
      this.#host.adopt(session);
      return { session, minted };
    } catch (error) {
      this.#host.credentials.forget(entry.id);
      if (opened !== null) await this.#host.abandon(opened);
      // An entry that may have reached the disk must not be left without its folder.
      const withdrawn = !committing || (await this.#withdraw(entry.id));
      if (!withdrawn) throw error;
      // Best effort: on a full disk even this may fail, and then the next start passes over it.
      await store.removeSession(entry.id).catch(() => undefined);
      await store.unmarkOpen(entry.id).catch(() => undefined);
      throw error;
    }
  }

  #withdraw(id: SessionId): Promise<boolean> {
    return this.#host.options.registry.withdraw(id).then(
      () => true,
      () => false,
    );
  }

  /** A stopped session begins its next life; another is joined as it is. */
  async #startOrJoin(entry: RegistryEntry, options: LifeOptions, { label: tokenLabel, reach }: Asker): Promise<Started> {
    const { keyId } = reach;
    // Its journal has one writer, and the registry may be behind it until then.
    await this.#host.settled(entry.id);
    const ended = this.#host.inMemory(entry.id);
    // Its life is over in the journal, and the registry could not be told then.
    if (ended !== undefined && !ended.live) await this.#host.putAway(ended, (await ended.stop({ label: "owner" })).life);
    const current = this.#host.entry(entry.id);
    // Deleted, because it was never used, while this call waited for its turn.
    if (current === undefined) throw new SessiondError("not_found", { what: "session" });
    let begins = current.stopped;
    const session = begins
      ? await this.#begin(current, options, reach)
      : await this.#host.session(current.id).catch((error: unknown) => {
          // So its journal says, which knows better than the registry.
          if (!isSessiondError(error, "session_stopped")) throw error;
          begins = true;
          return this.#begin(this.#host.entry(entry.id) ?? current, options, reach);
        });
    const life = session.info();
    if (!begins && isWeaker(life.sandbox, options.sandbox)) {
      const reason = `the life that runs began with the sandbox ${life.sandbox} and keeps it, and ${options.sandbox} was asked for; stop the session, or join it without naming a sandbox`;
      throw new SessiondError("conflict", { reason });
    }
    const { tokens, file } = await this.#host.credentials.of(current);
    // The reply that a repeated request never saw carried a token; it must not lie around.
    const unseen =
      tokenLabel === "start" ? [] : tokens.list().filter((token) => token.label === tokenLabel && token.origin === "start" && token.key_id === keyId);
    for (const token of unseen) await tokens.revoke(token.token_id, reach);
    const minted = await tokens.mint({ right: "control", label: tokenLabel, life: session.state.life, origin: "start", keyId, by: reach }, (tokenId) =>
      session.seats.holdsSeat(tokenId),
    );
    const info = session.info();
    const differs = begins ? [] : differing(options, info, { env: file.data.env, defaultSandbox: this.#host.options.defaultSandbox });
    return { session: info, token: minted.token, token_id: minted.record.token_id, created: begins || (unseen.length > 0 && tokenLabel !== "start"), differs };
  }

  async #begin(entry: RegistryEntry, options: LifeOptions, reach: Reach): Promise<Session> {
    const leave = this.#takeRoom(entry.id, reach.keyId);
    return this.#host.opens(entry.id, this.#nextLife(entry, options, reach).finally(leave));
  }

  async #nextLife(entry: RegistryEntry, options: LifeOptions, reach: Reach): Promise<Session> {
    const chosen = await this.#choose(options);
    if (this.#host.draining) throw new SessiondError("shutting_down");
    const { session, log, damage } = await this.#host.open(entry, reach.keyId);
    try {
      // Live already: an earlier try wrote the frame and failed at the registry, or the last frame was lost to damage.
      if (!session.live) {
        const { file } = await this.#host.credentials.of(entry);
        await file.update((data) => void (data.env = { ...options.env }));
        reach.mustStand();
        session.begin(entry.workdir, chosen, entry.life);
      }
      session.recover(damage);
      await log.durable(session.state.seq);
      await this.#host.options.registry.change(entry.id, { stopped: false, life: session.state.life, begun_by: reach.keyId });
      this.#host.adopt(session);
      return session;
    } catch (error) {
      await this.#host.abandon(session);
      throw error;
    }
  }
}

/** What was asked for, and is otherwise in the life that runs. */
function differing(options: LifeOptions, info: Started["session"], { env, defaultSandbox }: { env: Env; defaultSandbox: Sandbox }): Started["differs"] {
  const same: Record<Started["differs"][number], boolean> = {
    agent: options.agent === info.agent,
    model: options.model === info.model,
    title: options.title === info.title,
    policy: options.policy !== undefined && isSamePolicy(options.policy, info.policy),
    sandbox: options.sandbox === info.sandbox,
    env: options.env !== undefined && isSameEnv(options.env, env),
  };
  // Who names none means the configured one: they are told where they get less.
  const isLess = options.sandbox === undefined && isWeaker(info.sandbox, defaultSandbox);
  return (["agent", "model", "title", "policy", "sandbox", "env"] as const).filter(
    (key) => (options[key] !== undefined && !same[key]) || (key === "sandbox" && isLess),
  );
}

/** From the one that confines nothing to the one that confines most. */
const sandboxes: readonly Sandbox[] = ["off", "network", "no_network"];
const isWeaker = (one: Sandbox, asked: Sandbox | undefined): boolean => asked !== undefined && sandboxes.indexOf(one) < sandboxes.indexOf(asked);

const isSameEnv = (one: Env, other: Env): boolean =>
  Object.keys(one).length === Object.keys(other).length && Object.entries(one).every(([name, value]) => other[name] === value);

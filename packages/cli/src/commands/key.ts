import type { Command } from "commander";
import type { Host, KeyRecord, Scope } from "@sessiond/client";
import { schemas } from "@sessiond/shared";
import { isAbsolute, resolve } from "node:path";
import { parseDuration, spoken } from "../duration.ts";
import { Failure } from "../exit-codes.ts";
import { say } from "../notice.ts";
import { addReachOptions, jsonOption, withExamples } from "../options.ts";
import { reach, type ReachFlags } from "../reach.ts";
import { foreignLine, jsonLine } from "../screen.ts";
import { NewSecretFile } from "../secret-files.ts";
import { printTable } from "../table.ts";
import { shortId } from "../which-session.ts";

const scopes = schemas.scope.options;

interface OutFlags extends ReachFlags {
  readonly out?: string;
  readonly json?: true;
}
interface CreateFlags extends OutFlags {
  readonly scope: readonly Scope[];
  readonly root: readonly string[];
  readonly expires?: number;
}

export function declare(command: Command): void {
  const part = (name: string, summary: string): Command => command.command(name).description(summary);
  const outOptions = (each: Command): Command =>
    addReachOptions(
      each
        .option("--out <file>", "write the key there, for you alone to read, instead of printing it")
        .addOption(jsonOption("print it with its record, as one line of JSON")),
    );
  const byId = (each: Command): Command => each.argument("<key>", "its id (key_…), or a unique beginning");
  withExamples(command, "sessiond key create ci --scope sessions:start --root ~/app --out ci.key", "sessiond key ls", "sessiond key revoke key_7Hq2");
  withExamples(
    outOptions(
      part("create", "make an API key for a caller who is not the owner, and print it, once")
        .argument("<name>", "how it is listed")
        .option("--scope <scope>", `what it may do, once for each: ${scopes.join(", ")}`, scopeGiven, [])
        .option("--root <dir>", "a directory in which its sessions may live, once for each", (dir: string, all: string[]) => [...all, dir], [])
        .option("--expires <duration>", "it ends after that: 1h, 30d (default: when revoked)", parseDuration),
    ).addHelpText("after", "\nThe key goes to stdout, alone, or into the file of --out; it is not shown again."),
    "sessiond key create ci --scope sessions:start --scope sessions:list --root ~/app",
    "sessiond key create phone --scope sessions:watch --root ~ --expires 30d --out k",
  ).action((name: string, flags: CreateFlags) => create(name, flags));
  withExamples(addReachOptions(part("ls", "the keys, those that have ended too; never their secrets").addOption(jsonOption())), "sessiond key ls").action(
    (flags: ReachFlags & { readonly json?: true }) => list(flags),
  );
  withExamples(
    outOptions(
      byId(part("rotate", "give a key another secret, and print it, once")).option(
        "--overlap <duration>",
        "the one before counts that long: 1h, 7d (default: not at all)",
        parseDuration,
      ),
    ),
    "sessiond key rotate key_7Hq2 --overlap 1h --out new.key",
  ).action((id: string, flags: OutFlags & { readonly overlap?: number }) => rotate(id, flags));
  withExamples(
    addReachOptions(byId(part("revoke", "end a key, the keys it made, their connections, and the tokens they were given"))),
    "sessiond key revoke key_7Hq2",
  ).action((id: string, flags: ReachFlags) => revoke(id, flags));
  withExamples(addReachOptions(byId(part("rm", "forget a key that was revoked"))), "sessiond key rm key_7Hq2").action((id: string, flags: ReachFlags) =>
    remove(id, flags),
  );
  withExamples(
    part("rotate-host", "replace the host key in its file").addHelpText(
      "after",
      "\nThe one before ends at once, and what was opened with it. Commands and editors of this account read the new one by themselves; whatever copied the old one is locked out.\nTokens and API keys that were made with it live on. If somebody else had it, look through `sessiond key ls` and, for each session, `sessiond token list`, and revoke what you did not make.",
    ),
    "sessiond key rotate-host",
  ).action(rotateHost);
}

function scopeGiven(text: string, all: readonly Scope[]): readonly Scope[] {
  const scope = scopes.find((each) => each === text);
  if (scope === undefined) throw new Failure("usage", `\`${text}\` is no scope; there are: ${scopes.join(", ")}.`);
  return [...all, scope];
}

async function create(name: string, { scope, root, expires, ...flags }: CreateFlags): Promise<void> {
  if (scope.length === 0) throw new Failure("usage", `Say what it may do: --scope, once for each of ${scopes.join(", ")}.`);
  if (root.length === 0) throw new Failure("usage", "Say where its sessions may live: --root DIR, once for each directory.");
  const unclear = flags.url === undefined ? undefined : root.find((dir) => !isAbsolute(dir));
  if (unclear !== undefined) throw new Failure("usage", `--root ${unclear}: over --url a root is a directory on the daemon's machine; give its absolute path.`);
  await shown(flags, async (host) => {
    const made = await host.createKey({ name, scopes: scope, roots: root.map((dir) => resolve(dir)), ttlMs: expires });
    const { key_id, roots, scopes: may } = made.record;
    return {
      ...made,
      words: `key ${key_id}: ${may.join(", ")} in ${roots.map(foreignLine).join(", ")}, ${expires === undefined ? "until it is revoked" : `for ${spoken(expires)}`}`,
    };
  });
}

async function rotate(id: string, { overlap, ...flags }: OutFlags & { readonly overlap?: number }): Promise<void> {
  await shown(flags, async (host) => {
    const { key_id } = await keyNamed(host, id);
    const made = await host.rotateKey(key_id, { overlapMs: overlap });
    return { ...made, words: `key ${key_id} has another secret; the one before ${overlap ? `counts for ${spoken(overlap)} more` : "has ended"}` };
  });
}

/** The only place where a key is printed. */
async function shown(flags: OutFlags, make: (host: Host) => Promise<{ key: string; record: KeyRecord; words: string }>): Promise<void> {
  const file = flags.out === undefined ? null : new NewSecretFile(flags.out);
  const { key, record, words } = await reach("key", flags)
    .then(make)
    .catch((error: unknown) => {
      file?.remove();
      throw error;
    });
  file?.write(key);
  if (flags.json) process.stdout.write(jsonLine(file === null ? { key, record } : { record }));
  else if (file === null) process.stdout.write(`${key}\n`);
  say(`${words}; ${file === null ? "it is" : `written to ${file.path}, and`} not shown again`);
}

async function list({ json, ...flags }: ReachFlags & { readonly json?: true }): Promise<void> {
  const keys = await (await reach("key", flags)).listKeys();
  if (json) return keys.forEach((record) => process.stdout.write(jsonLine(record)));
  if (keys.length === 0) return say("there are no keys; `sessiond key create` makes one");
  const now = Date.now();
  const rows = keys.map((record) => [
    shortId(record.key_id),
    stateOf(record, now),
    record.last_used_at === null ? "never" : `${spoken(Math.max(0, now - record.last_used_at))} ago`,
    record.name,
    record.scopes.join(" "),
    record.roots.join(" "),
  ]);
  printTable(process.stdout, ["KEY", "STATE", "USED", "NAME", "SCOPES", "ROOTS"], rows);
}

function stateOf({ revoked_at, expires_at, overlap_ends_at }: KeyRecord, now: number): string {
  if (revoked_at !== undefined) return "revoked";
  if (expires_at !== undefined && expires_at <= now) return "expired";
  const ends = expires_at === undefined ? "live" : `ends in ${spoken(expires_at - now)}`;
  return overlap_ends_at !== undefined && overlap_ends_at > now ? `${ends}, old secret ${spoken(overlap_ends_at - now)} more` : ends;
}

async function revoke(id: string, flags: ReachFlags): Promise<void> {
  const host = await reach("key", flags);
  for (const gone of await host.revokeKey((await keyNamed(host, id)).key_id)) process.stdout.write(`revoked ${gone}\n`);
}

async function remove(id: string, flags: ReachFlags): Promise<void> {
  const host = await reach("key", flags);
  const { key_id, revoked_at } = await keyNamed(host, id);
  if (revoked_at === undefined)
    throw new Failure("usage", `${shortId(key_id)} has not been revoked. \`sessiond key revoke ${shortId(key_id)}\` ends it first.`);
  await host.deleteKey(key_id);
  process.stdout.write(`deleted ${key_id}\n`);
}

async function rotateHost(): Promise<void> {
  const { file } = await (await reach("key")).rotateHostKey();
  process.stdout.write(`rotated ${foreignLine(file)}\n`);
}

/** @throws Failure usage */
async function keyNamed(host: Host, id: string): Promise<KeyRecord> {
  if (id.startsWith("ssdk_")) throw new Failure("usage", "That is a key itself; name it by its id (key_…). `sessiond key ls` shows ids.");
  const beginning = id.startsWith("key_") ? id : `key_${id}`;
  const matching = (await host.listKeys()).filter((record) => record.key_id.startsWith(beginning));
  const [only, second] = matching;
  if (only === undefined) throw new Failure("usage", `No key's id begins with ${beginning}. \`sessiond key ls\` shows them.`);
  if (second !== undefined) throw new Failure("usage", `${matching.length} keys' ids begin with ${beginning}; give more of it.`);
  return only;
}

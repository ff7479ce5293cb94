import type { Command } from "commander";
import type { TokenRecord } from "@sessiond/client";
import { parseDuration, spoken } from "../duration.ts";
import { Failure } from "../exit-codes.ts";
import { say } from "../notice.ts";
import { addReachOptions, jsonOption, sessionOption, withExamples, workdirOption } from "../options.ts";
import { reach, type ReachFlags } from "../reach.ts";
import { foreignLine, jsonLine } from "../screen.ts";
import { existingSession, shortId, type SessionName } from "../which-session.ts";

type NamedFlags = SessionName & ReachFlags;

interface MintOptions extends SessionName, ReachFlags {
  readonly view?: true;
  readonly control?: true;
  readonly label: string;
  readonly ttl?: number;
}

export function declare(command: Command): void {
  const part = (name: string, summary: string): Command =>
    addReachOptions(command.command(name).description(summary).addOption(sessionOption()).addOption(workdirOption()));
  withExamples(command, "sessiond token mint --view --ttl 1h > token", "sessiond token list", "sessiond token revoke tok_5dR9");
  withExamples(
    part("mint", "make a token for one session and print it, once")
      .option("--view", "it may look (the default)")
      .option("--control", "it may also act: prompt, answer, interrupt, stop")
      .option("--label <text>", "how it is listed, and seats taken with it", "minted by hand")
      .option("--ttl <duration>", "it ends after that: 90s, 30m, 1h, 7d (default: when revoked)", parseDuration),
    "sessiond token mint --view --label phone --ttl 1h > token",
    "sessiond attach --view --token-file token",
  ).action((options: MintOptions) => mint(options));
  withExamples(part("list", "the session's tokens; never their secrets").addOption(jsonOption()), "sessiond token list").action(
    (options: NamedFlags & { json?: true }) => list(options),
  );
  withExamples(
    part("revoke", "end a token, its children and their streams, at once").argument("<token>", "its id (tok_…), or a unique beginning"),
    "sessiond token revoke tok_5dR9",
  ).action((id: string, options: NamedFlags) => revoke(id, options));
}

/** The only place where a token is printed; alone on stdout, so that it can be captured. */
async function mint({ view, control, label, ttl, ...name }: MintOptions): Promise<void> {
  if (view && control) throw new Failure("usage", "Choose --view or --control, not both; control includes view.");
  const host = await reach("token", name);
  const { session_id } = await existingSession(host, name);
  const right = control ? "control" : "view";
  const { token, record } = await host.session(session_id).mintToken({ right, label, ttlMs: ttl });
  process.stdout.write(`${token}\n`);
  say(
    `${right} token ${record.token_id} of ${shortId(session_id)}, ${ttl === undefined ? "until it is revoked" : `for ${spoken(ttl)}`}; it is not shown again`,
  );
}

async function list({ json, ...name }: NamedFlags & { json?: true }): Promise<void> {
  const host = await reach("token", name);
  const tokens = await host.session((await existingSession(host, name)).session_id).listTokens();
  if (json) return tokens.forEach((record) => process.stdout.write(jsonLine(record)));
  if (tokens.length === 0) return say("no token is live");
  for (const record of tokens) process.stdout.write(`${record.token_id}  ${record.right.padEnd(7)}  ${lifeOf(record)}  ${foreignLine(record.label)}\n`);
}

async function revoke(id: string, name: NamedFlags): Promise<void> {
  if (id.startsWith("ssd_")) throw new Failure("usage", "That is a token itself; name it by its id (tok_…). `sessiond token list` shows ids.");
  const host = await reach("token", name);
  const session = host.session((await existingSession(host, name)).session_id);
  const matching = (await session.listTokens()).filter((record) => record.token_id.startsWith(id));
  const [only, second] = matching;
  if (only === undefined) throw new Failure("usage", `No live token's id begins with ${id}. \`sessiond token list\` shows them.`);
  if (second !== undefined) throw new Failure("usage", `${matching.length} tokens' ids begin with ${id}; give more of it.`);
  for (const gone of await session.revokeToken(only.token_id)) process.stdout.write(`revoked ${gone}\n`);
}

const lifeOf = ({ expires_at, last_used_at }: TokenRecord): string =>
  `${expires_at === undefined ? "no end set" : `ends in ${spoken(expires_at - Date.now())}`}, used ${spoken(Date.now() - last_used_at)} ago`;

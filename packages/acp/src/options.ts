import { parseArgs } from "node:util";

/** What `sessiond acp` was told; `sessiond acp --help` (packages/cli/src/commands/acp.ts) says the same in words. */
export interface FrontOptions {
  /** `session/new` gives the one session of this directory, whatever the editor's own is. */
  readonly workdir?: string;
  readonly agent?: string;
  readonly model?: string;
  /** The file of a session's token: that session alone is there. */
  readonly tokenFile?: string;
  /** `own`: the replay, and the turns that were started here; `all`: others' too; `none`: not even the replay. */
  readonly observe: "own" | "all" | "none";
  /** Never drives. */
  readonly viewer: boolean;
  /** What becomes of a session when the editor closes it, or goes. */
  readonly close: "detach" | "stop";
}

/** @throws Error whose message is a sentence for who wrote the editor's configuration */
export function readOptions(words: readonly string[]): FrontOptions {
  const { values } = parseArgs({
    args: [...words],
    options: {
      workdir: { type: "string" },
      agent: { type: "string" },
      model: { type: "string" },
      "token-file": { type: "string" },
      observe: { type: "string", default: "own" },
      viewer: { type: "boolean", default: false },
      close: { type: "string", default: "detach" },
    },
  });
  const { workdir, agent, model, "token-file": tokenFile } = values;
  if (tokenFile !== undefined && (workdir ?? agent ?? model) !== undefined)
    throw new Error("--token-file names its session by itself: give no --workdir, --agent or --model beside it");
  const close = oneOf("--close", values.close, ["detach", "stop"]);
  if (values.viewer && close === "stop") throw new Error("--viewer only looks and ends no session: give no --close stop beside it");
  return {
    ...(workdir !== undefined && { workdir }),
    ...(agent !== undefined && { agent }),
    ...(model !== undefined && { model }),
    ...(tokenFile !== undefined && { tokenFile }),
    observe: oneOf("--observe", values.observe, ["own", "all", "none"]),
    viewer: values.viewer,
    close,
  };
}

function oneOf<T extends string>(name: string, given: string, words: readonly T[]): T {
  const found = words.find((word) => word === given);
  if (found === undefined) throw new Error(`${name} is one of ${words.join(", ")}`);
  return found;
}

import { Option, type Command } from "commander";
import { Failure } from "../exit-codes.ts";
import { withExamples } from "../options.ts";

/**
 * The help of `sessiond acp`. The work is done by a bundle of its own (packages/acp), which dist/sessiond.js runs in this
 * one's place, and which reads the same options.
 */
export function declare(command: Command): void {
  withExamples(
    command
      .option("--workdir <dir>", "new sessions are the one session of this directory (default: another each time, in the editor's)")
      .option("--agent <name>", "the agent, where a session begins (`sessiond agents`)")
      .option("--model <name>", "likewise the model")
      .option("--token-file <file>", "one session, by the token in a file of your own (`sessiond token mint`)")
      .addOption(
        new Option("--observe <what>", "turns that are shown: own, all, or none but new ones, without a replay").choices(["own", "all", "none"]).default("own"),
      )
      .option("--viewer", "only look: prompts are refused")
      .addOption(new Option("--close <how>", "when the editor closes a session, or goes").choices(["detach", "stop"]).default("detach"))
      .addHelpText(
        "after",
        "\nAn agent of the Agent Client Protocol (version 1) on stdin and stdout, for the configuration of an editor; see docs/editors.md. The editor drives while a prompt of it runs; what it starts goes on when it is closed. MCP servers that an editor names are not used.",
      ),
    "sessiond acp",
    "sessiond acp --agent gemini --close stop",
    "sessiond acp --workdir ~/app --observe all",
  ).action(() => {
    throw new Failure("usage", "An editor starts this, as `sessiond acp`: give the word first.");
  });
}

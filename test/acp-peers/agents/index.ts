import { chosenPeers } from "../installed.ts";
import type { AcpAgent } from "./agent.ts";
import { claude } from "./claude.ts";
import { codex } from "./codex.ts";
import { gemini } from "./gemini.ts";
import { opencode } from "./opencode.ts";

/** Those that were asked for by name; all unless any was. */
export const agents: readonly AcpAgent[] = [opencode, gemini, codex, claude].filter(({ name }) => chosenPeers.includes(name));

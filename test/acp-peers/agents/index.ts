import type { AcpAgent } from "./agent.ts";
import { claude } from "./claude.ts";
import { codex } from "./codex.ts";
import { gemini } from "./gemini.ts";
import { opencode } from "./opencode.ts";

export const agents: readonly AcpAgent[] = [opencode, gemini, codex, claude];

import type { AcpAgent } from "./agent.ts";
import { opencode } from "./opencode.ts";

export const agents: readonly AcpAgent[] = [opencode];

/** What an agent's program says on its stderr, and how its starts went: a file in the session's directory, written by agents/acp and read by doctor. */
export const agentLogName = "agent-stderr.log";

/** Lines of the daemon's own begin so; none of an agent does. */
export const agentLogWords = {
  started: "== started",
  ready: "== ready",
  failed: "== failed to start:",
  dropped: "== not read:",
  ended: "== ended",
} as const;

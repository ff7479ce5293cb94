import type { VerbName } from "@sessiond/shared";
import { agentEvent } from "./agent-event.ts";
import { serveAgent } from "./serve-agent.ts";
import { createKey } from "./create-key.ts";
import { listKeys } from "./list-keys.ts";
import { rotateKey } from "./rotate-key.ts";
import { revokeKey } from "./revoke-key.ts";
import { deleteKey } from "./delete-key.ts";
import { rotateHostKey } from "./rotate-host-key.ts";
import { takeDriver } from "./take-driver.ts";
import { yieldDriver } from "./yield-driver.ts";
import { editPrompt } from "./edit-prompt.ts";
import { forgetRule } from "./forget-rule.ts";
import { configureSession } from "./configure-session.ts";
import { addSystemMessage } from "./add-system-message.ts";
import { watchSessions } from "./watch-sessions.ts";
import { stopWorkdirSession } from "./stop-workdir-session.ts";
import { listAgents } from "./list-agents.ts";
import { approve } from "./approve.ts";
import { attach } from "./attach.ts";
import { authorize } from "./authorize.ts";
import { daemonStatus } from "./daemon-status.ts";
import { detach } from "./detach.ts";
import { hello } from "./hello.ts";
import { interrupt } from "./interrupt.ts";
import { listSessions } from "./list-sessions.ts";
import { listTokens } from "./list-tokens.ts";
import { mintToken } from "./mint-token.ts";
import { releaseQueue } from "./release-queue.ts";
import { revokeToken } from "./revoke-token.ts";
import { sendPrompt } from "./send-prompt.ts";
import { sessionData } from "./session-data.ts";
import { sessionInfo } from "./session-info.ts";
import { shutDown } from "./shut-down.ts";
import { startOrGetForWorkdir } from "./start-or-get-for-workdir.ts";
import { startSession } from "./start-session.ts";
import { stop } from "./stop.ts";
import type { Handler } from "./verb.ts";
import { withdrawPrompt } from "./withdraw-prompt.ts";

/** Does not compile when a verb has no handler. */
export type Handlers = { readonly [V in VerbName]: Handler<V> };

export const handlers: Handlers = {
  hello,
  daemon_status: daemonStatus,
  shut_down: shutDown,
  start_session: startSession,
  start_or_get_for_workdir: startOrGetForWorkdir,
  list_sessions: listSessions,
  mint_token: mintToken,
  list_tokens: listTokens,
  revoke_token: revokeToken,
  authorize,
  session_info: sessionInfo,
  session_data: sessionData,
  attach,
  detach,
  send_prompt: sendPrompt,
  withdraw_prompt: withdrawPrompt,
  release_queue: releaseQueue,
  approve,
  interrupt,
  stop,
  take_driver: takeDriver,
  yield_driver: yieldDriver,
  edit_prompt: editPrompt,
  forget_rule: forgetRule,
  configure_session: configureSession,
  add_system_message: addSystemMessage,
  watch_sessions: watchSessions,
  stop_workdir_session: stopWorkdirSession,
  list_agents: listAgents,
  serve_agent: serveAgent,
  agent_event: agentEvent,
  create_key: createKey,
  list_keys: listKeys,
  rotate_key: rotateKey,
  revoke_key: revokeKey,
  delete_key: deleteKey,
  rotate_host_key: rotateHostKey,
};

/**
 * Every number that bounds something, with its unit and its reason.
 * Times can be overridden by the daemon's configuration (tests do); sizes cannot,
 * because clients learn them from `hello` and size their own buffers by them.
 */
interface Limit {
  readonly value: number;
  readonly unit: "bytes" | "count" | "ms" | "chars";
  readonly why: string;
}

export const limitTable = {
  // What one request may carry.
  request_bytes_max: { value: 1_048_576, unit: "bytes", why: "a WebSocket message is parsed whole; a megabyte holds the largest prompt four times" },
  prompt_bytes_max: { value: 262_144, unit: "bytes", why: "64k tokens of text; larger material belongs in a file that the agent reads" },
  prompt_images_bytes_max: {
    value: 524_288,
    unit: "bytes",
    why: "of the images of one prompt, in base64: a screen's picture as a JPEG; a request holds it beside the text",
  },
  prompt_parts_max: { value: 32, unit: "count", why: "one editor selection each; more is a file" },
  label_chars_max: { value: 64, unit: "chars", why: "fits a status line" },
  reason_chars_max: { value: 2_000, unit: "chars", why: "a refusal's reason goes to the model; a paragraph is enough" },
  workdir_bytes_max: { value: 4_096, unit: "bytes", why: "PATH_MAX on Linux" },
  session_title_chars_max: { value: 120, unit: "chars", why: "a line of a list" },
  system_message_chars_max: { value: 16_384, unit: "chars", why: "a note, not a document; it is part of every snapshot" },
  env_vars_max: { value: 32, unit: "count", why: "the allow-list is shorter" },
  env_value_chars_max: { value: 8_192, unit: "chars", why: "a PATH of a hundred entries" },
  policy_ms_max: { value: 604_800_000, unit: "ms", why: "a week; who means longer means `hold`" },
  filter_sessions_max: { value: 64, unit: "count", why: "who watches more of them watches all" },
  // What one peer may hold.
  connections_max: { value: 512, unit: "count", why: "half of the default descriptor limit; 200 viewers and their calls fit" },
  subscriptions_per_connection_max: { value: 32, unit: "count", why: "the library uses one a connection" },
  calls_per_connection_max: { value: 256, unit: "count", why: "calls under way on one socket; the library never nears it" },
  calls_per_message_max: { value: 64, unit: "count", why: "a stock client sends all its subscriptions again as one message when it reconnects" },
  tcp_connections_max: { value: 256, unit: "count", why: "beside those of the unix socket, so that nobody out there takes the owner's" },
  connections_per_peer_max: { value: 64, unit: "count", why: "of the TCP ones, from one address: a person's editors, terminals and pages" },
  refused_connections_max: {
    value: 16,
    unit: "count",
    why: "TCP connections beyond a limit that are kept until they have been told so; further ones are cut without a word",
  },
  http_head_bytes_max: {
    value: 16_384,
    unit: "bytes",
    why: "request line and headers: Node's own default; a client sends a few hundred bytes, a browser's cookies some thousand",
  },
  newcomers_max: {
    value: 512,
    unit: "count",
    why: "connections that have not said what they want; as many as the system's own queue holds, then the oldest goes",
  },
  hello_wait_ms: { value: 10_000, unit: "ms", why: "a socket that says nothing is not a client" },
  heartbeat_ms: { value: 15_000, unit: "ms", why: "a quiet link is probed this often, from both sides" },
  heartbeat_wait_ms: { value: 10_000, unit: "ms", why: "a peer that does not answer a probe within this is gone" },
  // How often. So many at once, and as many again come back evenly over the window.
  throttle_window_ms: {
    value: 60_000,
    unit: "ms",
    why: "limits named per_minute: so many at once, and as many come back over this time, evenly; each refusal says when the next one has",
  },
  throttled_max: {
    value: 10_000,
    unit: "count",
    why: "of each such limit, so many who have used some of it are remembered, a megabyte or two; beyond it those who used least are forgotten",
  },
  failed_credentials_per_peer_per_minute_max: {
    value: 120,
    unit: "count",
    why: "of one connection; over TCP of one address (of IPv6 the first 64 bits) too; a client with an old token fails once, and does not repeat it",
  },
  failed_credentials_per_id_per_minute_max: {
    value: 120,
    unit: "count",
    why: "wrong secrets for one session or key, from wherever; the right one passes all the same",
  },
  open_calls_per_peer_per_minute_max: {
    value: 6_000,
    unit: "count",
    why: "connections, pages, `hello` and what is no call over TCP, of one address: fifty new connections a second are more than programs there open, and the event loop is everybody's",
  },
  open_call_bytes_max: {
    value: 65_536,
    unit: "bytes",
    why: "a longer message counts as several open calls, one more for each so many bytes, until a right credential was shown on its connection: all of it is parsed before that is looked at",
  },
  calls_per_token_per_minute_max: {
    value: 60_000,
    unit: "count",
    why: "a thousand a second: no person and no script needs it, and the event loop is everybody's",
  },
  prompts_per_token_per_minute_max: { value: 6_000, unit: "count", why: "each is synced to the disk; a loop without a pause is a fault" },
  starts_per_key_per_minute_max: { value: 600, unit: "count", why: "each is a directory and ten syncs" },
  // Fan-out.
  batch_frames_max: {
    value: 512,
    unit: "count",
    why: "each batch costs each reader some fifty small steps; longer ones help throughput no further. From disk `batch_bytes_max` alone counts",
  },
  batch_bytes_max: { value: 262_144, unit: "bytes", why: "one batch must not hold up a socket for long" },
  window_bytes_max: { value: 1_048_576, unit: "bytes", why: "frames kept in memory a session; older ones are read from disk" },
  window_frames_max: { value: 4_096, unit: "count", why: "the same bound for tiny frames" },
  socket_buffer_messages_max: {
    value: 1_024,
    unit: "count",
    why: "with more of them waiting a socket is full too: each costs two kilobytes or more beside its bytes, however short it is",
  },
  socket_buffer_bytes_max: { value: 1_048_576, unit: "bytes", why: "above this a socket is full and is not read for" },
  stall_ms: { value: 30_000, unit: "ms", why: "a socket that takes nothing for this long is closed with slow_consumer" },
  stall_bytes_min: {
    value: 65_536,
    unit: "bytes",
    why: "who takes less than this within stall_ms, of more than a full buffer, takes nothing: two kilobytes a second",
  },
  journal_pending_bytes_max: { value: 4_194_304, unit: "bytes", why: "an agent that outruns the disk waits here" },
  journal_line_bytes_max: { value: 4_194_304, unit: "bytes", why: "longer than any frame that schemas allow; a longer line is damage" },
  page_frames_max: { value: 512, unit: "count", why: "one page of session_data" },
  answers_per_turn_chars_max: {
    value: 65_536,
    unit: "chars",
    why: "made in one turn of the event loop, of verbs whose answers may be long; a longer one has a turn to itself",
  },
  page_bytes_max: { value: 524_288, unit: "bytes", why: "one page of session_data" },
  // The journal's segments.
  segment_bytes_max: { value: 4_194_304, unit: "bytes", why: "waking a session reads this much, beside a snapshot" },
  snapshot_bytes_max: { value: 8_388_608, unit: "bytes", why: "at a segment's head; with a larger state the segment before it grows on for a while" },
  segments_kept: { value: 2, unit: "count", why: "sealed ones that stay as they were written: recent cursors are served from them" },
  segments_open_max: { value: 4, unit: "count", why: "sealed ones that a session holds open for whoever pages in them" },
  segments_held_max: {
    value: 12,
    unit: "count",
    why: "sealed ones beyond those kept that are not compacted because a reader stands before them: with the others 60 MB, within what a session may take on disk",
  },
  merged_chunk_chars_max: {
    value: 262_144,
    unit: "chars",
    why: "chunks of one message in a compacted segment are one frame, and a frame fits a line and a page",
  },
  epochs_kept: { value: 1_024, unit: "count", why: "a cursor as old as a thousand restarts gets a snapshot" },
  lives_remembered: { value: 256, unit: "count", why: "a late repeat of `stop` is told how that life ended" },
  transcript_kept_chars_max: {
    value: 1_048_576,
    unit: "chars",
    why: "a longer conversation is read again for the next turn: between turns it only takes memory",
  },
  host_window_events_max: { value: 2_048, unit: "count", why: "room `host` is kept in memory alone; who is further behind gets the list again" },
  // State.
  state_messages_max: { value: 200, unit: "count", why: "a few screens; older ones are paged from the journal" },
  state_messages_chars_max: { value: 1_048_576, unit: "chars", why: "a snapshot has to be cheap to send to every attacher" },
  message_chars_max: { value: 131_072, unit: "chars", why: "one message's text in a snapshot; its end is kept" },
  title_chars_max: { value: 512, unit: "chars", why: "a tool call's title is a line; names of tools and of failures are bounded alike" },
  failure_chars_max: { value: 4_000, unit: "chars", why: "why a turn failed is part of every snapshot" },
  preview_chars_max: { value: 524_288, unit: "chars", why: "a question is shown whole and is part of every snapshot; a larger change is refused, not elided" },
  tool_input_chars_max: { value: 16_384, unit: "chars", why: "a tool's input in the message list; the question always has all of it" },
  calls_open_max: { value: 128, unit: "count", why: "tool calls of one answer; further ones are not run" },
  locations_max: { value: 16, unit: "count", why: "places that one tool call names" },
  files_touched_max: { value: 200, unit: "count", why: "part of every snapshot; the journal has them all" },
  rule_pattern_chars_max: { value: 4_096, unit: "chars", why: "a rule is part of every snapshot; a longer command is a script, and its answer is given once" },
  rules_max: { value: 128, unit: "count", why: "remembered answers of a session, and of a workdir: more is a policy, not memory" },
  diff_chars_max: {
    value: 262_144,
    unit: "chars",
    why: "a file before a change, and after; of a larger one the diff is left out, and the question says what it is",
  },
  plan_entries_max: { value: 64, unit: "count", why: "steps of a plan; part of every snapshot" },
  agent_facts_max: { value: 128, unit: "count", why: "modes, options and commands that an agent tells of, each; part of every snapshot" },
  agent_choices_max: { value: 256, unit: "count", why: "values of one option: a provider's models" },
  agent_text_chars_max: { value: 1_024, unit: "chars", why: "a name, a description, a step of a plan: a line or two" },
  agent_update_chars_max: { value: 65_536, unit: "chars", why: "an update that this build does not know is kept as it was said; a larger one is left out" },
  approval_options_max: { value: 16, unit: "count", why: "answers that an agent offers; a person reads them all" },
  // Sessions, seats, tokens.
  rest_after_ms: { value: 14_400_000, unit: "ms", why: "four idle hours without a seat: it is put to rest, and the next call wakes it" },
  unused_delete_ms: { value: 3_600_000, unit: "ms", why: "a session that never had a turn is gone an hour after its last seat left" },
  driver_request_ms: { value: 30_000, unit: "ms", why: "a driver who does not answer by then does not want to" },
  sessions_live_max: { value: 1_024, unit: "count", why: "each holds a descriptor; orphans by the hundred are a fault" },
  sessions_live_of_keys_max: { value: 768, unit: "count", why: "with so many in memory none is opened whose life an API key began: the rest is the owner's" },
  seats_max: { value: 256, unit: "count", why: "200 viewers and room to reconnect" },
  seats_per_token_max: {
    value: 64,
    unit: "count",
    why: "one that was passed on, or is in a loop, leaves the others theirs; for more viewers there are more tokens",
  },
  seats_of_views_max: { value: 224, unit: "count", why: "of all: of tokens that may only look; the rest is for who may drive" },
  seats_of_others_max: {
    value: 240,
    unit: "count",
    why: "of all, whoever has them; the rest is the owner's, who ends them: one for each of his tokens that has none, nothing for children of tokens and what keys were given",
  },
  seat_grace_ms: { value: 15_000, unit: "ms", why: "a lost link is back within seconds or not at all" },
  credentials_idle_max: {
    value: 16,
    unit: "count",
    why: "sessions out of memory whose tokens are kept there all the same: who comes back soon costs no reading, and thousands at rest cost no memory",
  },
  tokens_live_max: { value: 64, unit: "count", why: "beyond it the longest unused seatless start token of whoever asks goes: the owner's, or the same key's" },
  tokens_of_others_max: { value: 48, unit: "count", why: "of those: children of tokens, and what keys were given; the rest is the owner's, who ends them" },
  start_token_idle_ms: { value: 86_400_000, unit: "ms", why: "a token that nobody used for a day is a leak" },
  token_use_written_ms: {
    value: 3_600_000,
    unit: "ms",
    why: "last use is written down this often: a day without use is noticed to the hour, and reading costs no writes",
  },
  clock_look_ms: {
    value: 60_000,
    unit: "ms",
    why: "who waits for an instant looks at the machine's clock this often: it may be set, or the machine may sleep",
  },
  keys_max: { value: 256, unit: "count", why: "API keys: one a program and machine; for one more, the one is forgotten that ended longest ago" },
  keys_of_keys_max: { value: 192, unit: "count", why: "of those, made by keys: the rest is the owner's, who ends them" },
  key_roots_max: { value: 32, unit: "count", why: "directories of one key; more of them have a parent" },
  key_overlap_ms_max: { value: 604_800_000, unit: "ms", why: "a week to bring a rotated key to where it is used" },
  sessions_per_key_max: {
    value: 128,
    unit: "count",
    why: "lives begun by one API key that have not been ended: a program that lost count must not fill the daemon",
  },
  token_ttl_ms_max: { value: 31_536_000_000, unit: "ms", why: "a year; longer is for ever" },
  // Prompts and turns.
  queue_prompts_max: { value: 32, unit: "count", why: "more waiting prompts are a script gone wrong" },
  queue_bytes_max: { value: 1_048_576, unit: "bytes", why: "the queue is part of every snapshot" },
  prompt_ids_remembered: { value: 256, unit: "count", why: "repeats of older calls do not happen: the library gives up after ten minutes" },
  approval_outcomes_remembered: { value: 256, unit: "count", why: "late answers are told what became of the question" },
  approvals_pending_max: { value: 32, unit: "count", why: "a model that asks more at once gets the rest refused" },
  approvals_open_chars_max: {
    value: 2_097_152,
    unit: "chars",
    why: "inputs and previews of a session's open questions: part of every snapshot; two of the largest, and the model is told to ask again later",
  },
  turn_requests_max: { value: 200, unit: "count", why: "model calls in one turn; a loop that needs more is stuck" },
  interrupt_wait_ms: { value: 5_000, unit: "ms", why: "an agent that does not stop by then is abandoned, its children killed" },
  drain_wait_ms: { value: 10_000, unit: "ms", why: "running turns get this long to end at shut_down" },
  rest_wait_ms: { value: 10_000, unit: "ms", why: "a disk that hangs must not keep the daemon from going" },
  idle_exit_ms: { value: 1_800_000, unit: "ms", why: "a daemon that a client started leaves after half an hour without use" },
  reopen_ms: { value: 5_000, unit: "ms", why: "a faulted session tries its journal again this often" },
  // Tools.
  tool_input_bytes_max: { value: 524_288, unit: "bytes", why: "arguments of one tool call; a question carries them whole" },
  tool_input_depth_max: { value: 64, unit: "count", why: "arguments within arguments: what walks them goes down by calls, and the stack is everybody's" },
  tool_output_bytes_max: { value: 262_144, unit: "bytes", why: "what one tool call may print into the transcript; its head and its end are kept" },
  tool_read_bytes_max: { value: 262_144, unit: "bytes", why: "one read of a file; the rest by offset" },
  tool_list_entries_max: { value: 1_000, unit: "count", why: "one listing" },
  tool_search_matches_max: { value: 500, unit: "count", why: "one search" },
  tool_search_files_max: { value: 50_000, unit: "count", why: "beyond it a search belongs to a better tool in the shell" },
  tool_search_file_bytes_max: { value: 2_097_152, unit: "bytes", why: "larger files are data, not text to look through" },
  tool_search_pattern_ms: { value: 100, unit: "ms", why: "the event loop is everybody's: a pattern that backtracks without end is cut off, in each file" },
  shell_pipes_ms: { value: 100, unit: "ms", why: "what holds a command's pipes open after its end is ended" },
  shell_ms_max: { value: 600_000, unit: "ms", why: "a command that runs longer belongs in the background" },
  kill_wait_ms: { value: 2_000, unit: "ms", why: "between TERM and KILL of a command's group" },
  kill_chase_ms: { value: 2_000, unit: "ms", why: "what forks faster than it is looked for is hunted this long after KILL" },
  kill_passes_min: { value: 20, unit: "count", why: "so often at least, however slow the machine" },
  kill_looks_max: {
    value: 50,
    unit: "count",
    why: "listings in a row with nothing of the call, but something that was gone when it was read: one of a few is a hit",
  },
  processes_read_at_once: { value: 32, unit: "count", why: "a millisecond of reading /proc in one step; a machine may have thousands" },
  setpriv_wait_ms: { value: 2_000, unit: "ms", why: "asked once whether children can die with the daemon; without an answer they do not" },
  sandbox_try_ms: {
    value: 10_000,
    unit: "ms",
    why: "bubblewrap is tried before a sandbox is promised: milliseconds, and much more on a machine that is starved",
  },
  // The model.
  model_idle_ms: { value: 120_000, unit: "ms", why: "a stream that says nothing for this long has failed" },
  model_retries_max: { value: 3, unit: "count", why: "429 and 5xx, with the server's own retry-after" },
  model_event_bytes_max: {
    value: 1_048_576,
    unit: "bytes",
    why: "one event of its stream, unpacked: twice the largest arguments of a tool call; it is parsed at once, and the event loop is everybody's",
  },
  model_calls_max: { value: 4_096, unit: "count", why: "tool calls of one answer that are put together, to say how many were not run; more is no answer" },
  model_answer_bytes_max: { value: 134_217_728, unit: "bytes", why: "one answer, unpacked: a hundred thousand tokens with a kilobyte around each" },
  model_usage_tokens_max: {
    value: 1_000_000_000,
    unit: "count",
    why: "used by one answer; what a server says beyond it is no count, and sums must stay whole numbers",
  },
  model_error_bytes_max: { value: 65_536, unit: "bytes", why: "of what a server says instead of an answer; the first 500 characters are told" },
  // Agents of other makers.
  agent_look_ms: {
    value: 2_000,
    unit: "ms",
    why: "programs of agents are looked for along PATH before they are told of; a disk that does not answer is not waited for",
  },
  agent_start_wait_ms: {
    value: 60_000,
    unit: "ms",
    why: "until an agent has said what it can, and again until its conversation is there: some load for seconds, and a loaded machine gets patience",
  },
  agent_load_wait_ms: { value: 120_000, unit: "ms", why: "an agent that takes a conversation up says all of it again" },
  agent_replay_quiet_ms: {
    value: 300,
    unit: "ms",
    why: "some agents go on replaying a conversation when they have said that it is loaded: it is over when nothing of it has come for so long",
  },
  agent_setting_wait_ms: { value: 20_000, unit: "ms", why: "an agent that is told a mode, an option or a model; some ask their provider" },
  agent_close_wait_ms: {
    value: 1_000,
    unit: "ms",
    why: "an agent is told to close the conversation, and then that nobody listens: as long each, then it is ended",
  },
  agent_exit_wait_ms: { value: 1_000, unit: "ms", why: "from the end of an agent's output to that of its process, whose exit code is told" },
  agent_said_chars_max: { value: 65_536, unit: "chars", why: "text of an agent that its session has not taken: beyond it the agent is not read" },
  agent_calls_remembered: { value: 1_024, unit: "count", why: "tool calls of a turn whose updates are known as such; a long turn has hundreds" },
  agent_facts_chars_max: { value: 262_144, unit: "chars", why: "modes, options or commands of an agent, each together: part of every snapshot" },
  agent_stderr_bytes_max: { value: 1_048_576, unit: "bytes", why: "what an agent says beside its answers; then the file is kept once as .1 and begun anew" },
  agent_stderr_line_chars_max: { value: 4_096, unit: "chars", why: "a longer line is cut there: secrets are looked for in whole lines" },
  agent_places_max: { value: 64, unit: "count", why: "versions of Node in which an installed agent is looked for, newest first" },
  agents_configured_max: { value: 64, unit: "count", why: "in config.toml; a list of them is read by a person" },
  // The ACP wire: an agent that is our child, an editor whose agent we are.
  acp_message_bytes_max: {
    value: 16_777_216,
    unit: "bytes",
    why: "one line: an edit of a large file comes with the old and the new text; a longer one is skipped to its end, and answered by an error",
  },
  acp_depth_max: { value: 64, unit: "count", why: "values within values of one message: what walks them goes down by calls, and the stack is everybody's" },
  acp_id_chars_max: { value: 256, unit: "chars", why: "an id of a request is kept until its answer; others use numbers, or 36 characters" },
  acp_requests_open_max: {
    value: 256,
    unit: "count",
    why: "requests without an answer, of each side: a prompt and some questions for each session of an editor; more is a loop",
  },
  acp_unhandled_bytes_max: {
    value: 33_554_432,
    unit: "bytes",
    why: "messages that wait for the one before them: two of the longest, and then the connection ends; whoever reads should wait for them",
  },
  acp_unwritten_bytes_max: {
    value: 33_554_432,
    unit: "bytes",
    why: "messages that the other side does not take: two of the longest, and then the connection ends",
  },
  // `sessiond acp`, for one editor.
  acp_sessions_max: { value: 64, unit: "count", why: "sessions that one editor has open: each holds a seat and a connection; editors close what is not shown" },
  acp_prompts_open_max: { value: 16, unit: "count", why: "of one session, sent and not answered: who sends more does not wait for answers" },
  acp_running_output_chars_max: {
    value: 16_384,
    unit: "chars",
    why: "of a running tool's output, its end: each time it is told whole, because content replaces what was there",
  },
  acp_calls_kept_max: { value: 256, unit: "count", why: "calls of a turn whose output is kept beside what they may still tell; ended ones go first" },
  acp_cancel_wait_ms: { value: 10_000, unit: "ms", why: "a cancelled prompt is answered by then, whatever the daemon does; an agent has half of it to end" },
  acp_yield_wait_ms: {
    value: 2_000,
    unit: "ms",
    why: "the wheel is given back before a prompt is answered; a daemon that does not answer notices by itself that we are gone",
  },
  acp_detach_wait_ms: {
    value: 80,
    unit: "ms",
    why: "an editor that closes its end is gone within a tenth of a second; seats that were not given back fall free by themselves",
  },
  acp_stop_wait_ms: { value: 5_000, unit: "ms", why: "with `--close stop`: sessions whose tools do not end by then are ended by the daemon alone" },
  // The client.
  call_timeout_ms: { value: 30_000, unit: "ms", why: "no verb waits for the model; what takes longer has failed" },
  repeat_ms_max: { value: 600_000, unit: "ms", why: "no call is repeated when it is older than this" },
  client_events_max: {
    value: 4_096,
    unit: "count",
    why: "events kept for a seat's reader that has not taken them; what is above it is read from the transcript",
  },
  daemon_start_wait_ms: { value: 20_000, unit: "ms", why: "a cold start takes a tenth of a second; a loaded machine gets patience" },
  start_turn_ms: {
    value: 1_000,
    unit: "ms",
    why: "a client that was about to start a daemon and is not heard of for this long has died; the next one starts it",
  },
  goodbye_ms: { value: 2_000, unit: "ms", why: "seats and tokens end by themselves; a goodbye is worth this much waiting" },
  redial_ms_max: { value: 2_000, unit: "ms", why: "the longest pause between two dials" },
  // The house.
  tls_expiry_warning_ms: {
    value: 1_209_600_000,
    unit: "ms",
    why: "two weeks before its end a certificate is a problem in `status`: what renews it has failed",
  },
  tls_look_ms: { value: 5_000, unit: "ms", why: "certificate and key are looked at this often; a renewed one is taken without a restart" },
  door_close_ms: { value: 1_000, unit: "ms", why: "connections that have not closed by then are cut at the end of a drain" },
  tcp_retry_ms: { value: 5_000, unit: "ms", why: "a TCP port that another program has is tried again this often; one system call" },
  refusals_written_per_minute_max: { value: 60, unit: "count", why: "beyond it refusals are counted, not written singly" },
  reads_written_per_minute_max: {
    value: 20,
    unit: "count",
    why: "transcripts read by one token: beyond it they are counted, or a token that may only look would soon have overwritten what all others did",
  },
  calls_written_per_minute_max: {
    value: 60,
    unit: "count",
    why: "of one verb by one token or key, and as many that failed: one a second is no person; beyond it they are counted, or a loop would soon have overwritten what all others did. The owner's are written once it is known that they are his",
  },
  counted_holders_max: {
    value: 100,
    unit: "count",
    why: "tokens and keys whose reads and calls are told apart within a minute; those of further ones are counted together",
  },
  audit_pending_lines_max: { value: 10_000, unit: "count", why: "lines that wait for a slow disk; beyond it they are counted as failed" },
  audit_bytes_max: { value: 16_777_216, unit: "bytes", why: "then the file is kept as .1, the one before as .2, and a new one begun" },
  audit_files_kept: { value: 4, unit: "count", why: "older audit files: with the newest 80 MB, some 400,000 calls" },
  audit_look_ms: { value: 250, unit: "ms", why: "`sessiond audit --follow` looks for new lines this often: at once, to a person, and next to no work" },
  log_bytes_max: { value: 4_194_304, unit: "bytes", why: "then the daemon's log is kept once as .1 and begun anew" },
  secret_chars_min: { value: 8, unit: "count", why: "a shorter model key is a dummy for a local server, and hiding it would eat words of the log" },
  log_pending_bytes_max: { value: 65_536, unit: "bytes", why: "lines of the log that a full disk did not take wait here; what comes after them is dropped" },
  // What looks after it: verify and doctor.
  recovery_findings_max: { value: 100, unit: "count", why: "of one session; a journal with more of them is replaced, not mended line by line" },
  doctor_wait_ms: { value: 10_000, unit: "ms", why: "a daemon that has not answered by then is stopped or hangs; a healthy one takes a millisecond" },
  disk_free_bytes_min: {
    value: 67_108_864,
    unit: "bytes",
    why: "with less room doctor warns: a segment, what compaction makes of it and a snapshot, for a few sessions",
  },
  session_disk_bytes_fixed: {
    value: 67_108_864,
    unit: "bytes",
    why: "what a session may take beside 1.3 times its conversation: segments that wait for compaction",
  },
  socket_path_bytes_max: { value: 103, unit: "bytes", why: "Node truncates longer unix socket paths without a word" },
} as const satisfies Record<string, Limit>;

export type LimitName = keyof typeof limitTable;
/** Values by name; a daemon's own set may differ from the defaults in its times. */
export type Limits = Readonly<Record<LimitName, number>>;

export const limits: Limits = Object.freeze(
  Object.fromEntries(Object.entries(limitTable).map(([name, limit]) => [name, limit.value])) as Record<LimitName, number>,
);

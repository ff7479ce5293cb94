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
  newcomers_max: {
    value: 512,
    unit: "count",
    why: "connections that have not said what they want; as many as the system's own queue holds, then the oldest goes",
  },
  hello_wait_ms: { value: 10_000, unit: "ms", why: "a socket that says nothing is not a client" },
  heartbeat_ms: { value: 15_000, unit: "ms", why: "a quiet link is probed this often, from both sides" },
  heartbeat_wait_ms: { value: 10_000, unit: "ms", why: "a peer that does not answer a probe within this is gone" },
  // Fan-out.
  batch_frames_max: { value: 64, unit: "count", why: "keeps latency even: larger batches help throughput no further" },
  batch_bytes_max: { value: 262_144, unit: "bytes", why: "one batch must not hold up a socket for long" },
  window_bytes_max: { value: 1_048_576, unit: "bytes", why: "frames kept in memory a session; older ones are read from disk" },
  window_frames_max: { value: 4_096, unit: "count", why: "the same bound for tiny frames" },
  socket_buffer_bytes_max: { value: 1_048_576, unit: "bytes", why: "above this a socket is full and is not read for" },
  stall_ms: { value: 30_000, unit: "ms", why: "a socket that takes nothing for this long is closed with slow_consumer" },
  journal_pending_bytes_max: { value: 4_194_304, unit: "bytes", why: "an agent that outruns the disk waits here" },
  journal_line_bytes_max: { value: 4_194_304, unit: "bytes", why: "longer than any frame that schemas allow; a longer line is damage" },
  page_frames_max: { value: 512, unit: "count", why: "one page of session_data" },
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
  // Sessions, seats, tokens.
  rest_after_ms: { value: 14_400_000, unit: "ms", why: "four idle hours without a seat: it is put to rest, and the next call wakes it" },
  unused_delete_ms: { value: 3_600_000, unit: "ms", why: "a session that never had a turn is gone an hour after its last seat left" },
  driver_request_ms: { value: 30_000, unit: "ms", why: "a driver who does not answer by then does not want to" },
  sessions_live_max: { value: 1_024, unit: "count", why: "each holds a descriptor; orphans by the hundred are a fault" },
  seats_max: { value: 256, unit: "count", why: "200 viewers and room to reconnect" },
  seat_grace_ms: { value: 15_000, unit: "ms", why: "a lost link is back within seconds or not at all" },
  credentials_idle_max: {
    value: 16,
    unit: "count",
    why: "sessions out of memory whose tokens are kept there all the same: who comes back soon costs no reading, and thousands at rest cost no memory",
  },
  tokens_live_max: { value: 64, unit: "count", why: "beyond it the longest unused seatless start token goes" },
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
  token_ttl_ms_max: { value: 31_536_000_000, unit: "ms", why: "a year; longer is for ever" },
  // Prompts and turns.
  queue_prompts_max: { value: 32, unit: "count", why: "more waiting prompts are a script gone wrong" },
  queue_bytes_max: { value: 1_048_576, unit: "bytes", why: "the queue is part of every snapshot" },
  prompt_ids_remembered: { value: 256, unit: "count", why: "repeats of older calls do not happen: the library gives up after ten minutes" },
  approval_outcomes_remembered: { value: 256, unit: "count", why: "late answers are told what became of the question" },
  approvals_pending_max: { value: 32, unit: "count", why: "a model that asks more at once gets the rest refused" },
  turn_requests_max: { value: 200, unit: "count", why: "model calls in one turn; a loop that needs more is stuck" },
  interrupt_wait_ms: { value: 5_000, unit: "ms", why: "an agent that does not stop by then is abandoned, its children killed" },
  drain_wait_ms: { value: 10_000, unit: "ms", why: "running turns get this long to end at shut_down" },
  rest_wait_ms: { value: 10_000, unit: "ms", why: "a disk that hangs must not keep the daemon from going" },
  idle_exit_ms: { value: 1_800_000, unit: "ms", why: "a daemon that a client started leaves after half an hour without use" },
  reopen_ms: { value: 5_000, unit: "ms", why: "a faulted session tries its journal again this often" },
  // Tools.
  tool_input_bytes_max: { value: 524_288, unit: "bytes", why: "arguments of one tool call; a question carries them whole" },
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
  // The model.
  model_idle_ms: { value: 120_000, unit: "ms", why: "a stream that says nothing for this long has failed" },
  model_retries_max: { value: 3, unit: "count", why: "429 and 5xx, with the server's own retry-after" },
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
  door_close_ms: { value: 1_000, unit: "ms", why: "connections that have not closed by then are cut at the end of a drain" },
  refusals_written_per_minute_max: { value: 60, unit: "count", why: "beyond it refusals are counted, not written singly" },
  audit_pending_lines_max: { value: 10_000, unit: "count", why: "lines that wait for a slow disk; beyond it they are counted as failed" },
  audit_bytes_max: { value: 16_777_216, unit: "bytes", why: "then the file is kept once as .1 and begun anew" },
  log_bytes_max: { value: 4_194_304, unit: "bytes", why: "the same for the daemon's log" },
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

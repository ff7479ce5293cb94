// The last step: the watcher's frames against the journal, text by text.
export function compare({ stage, session, watcher, restarts }, check) {
  watcher.child.kill();
  const journal = stage.journal(session.id);
  const lasting = journal.slice(watcher.first);
  const numbered = journal.every((line, at) => JSON.parse(line).seq === at + 1);
  check(numbered, `the journal: ${journal.length} frames, numbered 1 to ${journal.length} without a hole, over ${restarts} crashes of the daemon`);
  const given = [...watcher.frames.values()];
  const same = given.length === lasting.length && given.every((text, at) => text === lasting[at]);
  const wrong = watcher.faults[0] ?? `${given.length} frames were given, ${lasting.length} are in the journal`;
  check(
    same && watcher.faults.length === 0,
    same
      ? `the watcher: ${given.length} frames, ${watcher.first + 1} to ${watcher.last}, each once and byte for byte; the first ${watcher.first} came as its opening picture`
      : wrong,
  );
}

import { connect } from "@sessiond/client/node";

const host = await connect(); // finds the daemon, or starts it
try {
  const session = await host.sessionForWorkdir(process.cwd(), { model: "practice" });
  const seat = await session.attach({ as: "driver" });
  // The state says what a screen needs; every change of it is announced.
  seat.onChange(() => {
    for (const approval of seat.state.approvals) {
      void seat.approve(approval, { kind: "allow_once" }).catch(() => undefined);
    }
  });
  const turn = await seat.prompt("write flag.txt: --colour then read flag.txt");
  console.log(turn.stopReason, turn.text);
} finally {
  await host.close(); // leaves the seat; the session stays
}

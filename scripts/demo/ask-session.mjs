// A script of somebody's: asks for the one session of this directory, and says what it got.
import { connect } from "@sessiond/client/node";

const host = await connect({ clientName: "a script" });
try {
  const session = await host.sessionForWorkdir(process.cwd(), { model: "practice" });
  console.log(JSON.stringify({ id: session.id, created: session.created, bootId: host.hello.boot_id }));
} finally {
  await host.close();
}

import { connect } from "node:net";
import { expect, test } from "vitest";
import { removeRoot, startTestDaemon } from "../../packages/daemon/src/testing.ts";

test("B40 a refused upgrade whose peer keeps its side open does not keep the daemon from stopping", async () => {
  const daemon = await startTestDaemon({ limits: { door_close_ms: 200 } });
  const socket = connect({ path: daemon.socketPath, allowHalfOpen: true });
  let reply = "";
  socket.on("data", (data) => (reply += String(data)));
  const ended = new Promise((resolve) => socket.once("end", resolve));
  const head = ["GET / HTTP/1.1", "Host: localhost", "Origin: http://x", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"];
  socket.write(`${head.join("\r\n")}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`);
  await ended;
  expect(reply).toContain("403");
  // Where it hangs, the test's own timeout says so.
  await daemon.stop(0);
  socket.destroy();
  await removeRoot(daemon.root);
});

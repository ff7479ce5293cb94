/** A rig whose session is held by clients of the library, over the daemon's own socket. */
import type { DriverSeat, Host, Session, ViewerSeat } from "@sessiond/client";
import { connect, sessionFromToken, type ConnectOptions } from "@sessiond/client/node";
import { testEnv } from "../../packages/daemon/src/testing.ts";
import { Rig, type RigOptions } from "./session-rig.ts";

export class ClientRig {
  rig: Rig;
  readonly #open: { close(): Promise<void> }[] = [];

  private constructor(rig: Rig) {
    this.rig = rig;
  }

  static async start(options: RigOptions = {}): Promise<ClientRig> {
    return new ClientRig(await Rig.start(options));
  }

  /** By the host key. */
  async host(options: ConnectOptions = {}): Promise<Host> {
    return this.#kept(await connect({ env: testEnv(this.rig.daemon.root), autoStart: false, clientName: "host", ...options }));
  }

  /** By a token of the session alone; a handle of its own for each who comes. */
  async session(clientName = "client", right: "view" | "control" = "control"): Promise<Session> {
    const { daemon, sessionId } = this.rig;
    const { token } = await daemon.call("mint_token", { session_id: sessionId, right, label: clientName }, { host_key: daemon.hostKey });
    return this.#kept(await sessionFromToken(token, { env: testEnv(daemon.root), autoStart: false, clientName }));
  }

  async driver(label = "driver"): Promise<DriverSeat> {
    return (await this.session(label)).attach({ as: "driver" });
  }

  async viewer(label = "viewer", right: "view" | "control" = "control"): Promise<ViewerSeat> {
    return (await this.session(label, right)).attach({ as: "viewer" });
  }

  /** Its daemon ends, and nobody listens until `begin`. */
  async end(): Promise<void> {
    await this.rig.daemon.stop(0);
  }

  async begin(options: RigOptions = {}): Promise<void> {
    this.rig = await Rig.restart(this.rig.daemon.root, this.rig, options);
  }

  /** The clients'; the daemons are ended by `endRigs`. */
  async close(): Promise<void> {
    await Promise.all(this.#open.map((each) => each.close()));
  }

  #kept<T extends Host | Session>(handle: T): T {
    this.#open.push(handle);
    return handle;
  }
}

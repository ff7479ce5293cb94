import { sessionFromToken, type Session, type ViewerSeat } from "@sessiond/client/node";

/** Seats of viewers of one session, as many as it takes. One token holds `seats_per_token_max`, so further ones are minted. */
export class ViewSeats {
  readonly #session: Session;
  readonly #env: Record<string, string>;
  readonly #handles: Session[] = [];
  #taken = 0;

  constructor(session: Session, env: Record<string, string>) {
    this.#session = session;
    this.#env = env;
  }

  async take(): Promise<ViewerSeat> {
    const handle = this.#handles[Math.floor(this.#taken / perToken)] ?? (await this.#another());
    this.#taken += 1;
    return handle.attach({ as: "viewer" });
  }

  close(): Promise<unknown> {
    return Promise.all(this.#handles.map((handle) => handle.close()));
  }

  async #another(): Promise<Session> {
    const { token } = await this.#session.mintToken({ right: "view", label: `viewers ${this.#handles.length + 1}` });
    const handle = await sessionFromToken(token, { env: this.#env, autoStart: false });
    this.#handles.push(handle);
    return handle;
  }
}

const perToken = 50;

import type { Actor, ContentPart, SessionEvent, SessionState } from "@sessiond/client";
import { AgentNews, settingWords } from "./agent-words.ts";
import { left } from "./duration.ts";
import { policyWords } from "./policies.ts";
import { promptText } from "./prompt-text.ts";
import { ruleWords, scopeWords } from "./rule-words.ts";
import { foreignLine, type Style } from "./screen.ts";

/** What happens around the agent's work, in words: prompts, seats, the wheel, what is remembered, the life of the session. */
export interface Said {
  readonly text: string;
  readonly style?: Style;
  /** Of interest to those alone who sit there for longer than one prompt. */
  readonly aside?: true;
}

export interface PromptText {
  text: string;
  readonly own: boolean;
  readonly label: string;
}

export interface SurroundingsOptions {
  readonly ownSeat: () => string | null;
  /** Slash commands can be typed here. */
  readonly slash: boolean;
}

type EventOf<T extends SessionEvent["type"]> = Extract<SessionEvent, { type: T }>;

export class Surroundings {
  readonly #options: SurroundingsOptions;
  readonly #labels = new Map<string, string>();
  readonly #prompts = new Map<string, PromptText>();
  readonly #agent = new AgentNews();
  #driver: string | null = null;

  constructor(options: SurroundingsOptions) {
    this.#options = options;
  }

  /** What stands at the beginning, or after a gap. */
  stands(state: SessionState): void {
    const { seats, queue } = state;
    this.#agent.stands(state);
    for (const seat of seats) this.#labels.set(seat.seat_id, seat.label);
    for (const prompt of queue) this.#prompts.set(prompt.prompt_id, this.#promptOf(prompt));
    this.#driver = seats.find(({ role }) => role === "driver")?.seat_id ?? null;
  }

  /** A prompt that enters a turn now, once. */
  delivered(promptId: string): PromptText | undefined {
    const prompt = this.#prompts.get(promptId);
    this.#prompts.delete(promptId);
    return prompt;
  }

  /** Null: nothing to say. */
  words(event: SessionEvent, at: number): Said | null {
    switch (event.type) {
      case "prompt_accepted":
        return this.#accepted(event);
      case "prompt_edited": {
        const prompt = this.#prompts.get(event.prompt_id);
        if (prompt !== undefined) prompt.text = promptText(event.parts);
        return said(`— a queued prompt was edited by ${this.#who(event.by)}`);
      }
      case "prompt_withdrawn":
        return said(`— a queued prompt was withdrawn by ${this.#who(event.by)}`);
      case "queue_held":
        return said("— queued prompts are held; `sessiond queue release` lets them run");
      case "queue_released":
        return said("— held prompts are released");
      case "rule_added":
        return said(`  remembered ${scopeWords(event.rule)}: ${ruleWords(event.rule)} (${event.rule.rule_id.slice(0, 12)})`);
      case "rule_forgotten":
        return said(`— a remembered answer was forgotten by ${this.#who(event.by)} (${event.rule_id.slice(0, 12)})`);
      case "agent_facts": {
        const news = this.#agent.told(event.facts);
        return news === null ? null : said(`— ${news}`);
      }
      case "session_configured":
        this.#agent.chosen(event);
        return said(`— ${this.#who(event.by)} set ${settings(event)}`);
      case "system_message":
        return { text: `# ${foreignLine(event.text)} (${this.#who(event.by)})`, style: "yellow" };
      case "session_stopped":
        return said(`— the session was stopped by ${this.#who(event.by)}`);
      default:
        return this.#seats(event, at);
    }
  }

  #seats(event: SessionEvent, at: number): Said | null {
    switch (event.type) {
      case "seat_taken":
        this.#labels.set(event.seat_id, event.label);
        if (event.role === "driver") this.#driver = event.seat_id;
        return this.#came(event.seat_id, event.role === "driver" ? "is the driver now" : "is watching");
      case "seat_lost":
        return this.#came(event.seat_id, "lost its connection");
      case "seat_resumed":
        return this.#came(event.seat_id, "is back");
      case "seat_left":
        if (this.#driver === event.seat_id) this.#driver = null;
        return this.#came(event.seat_id, "left");
      case "driver_requested":
        return this.#requested(event, at);
      case "driver_request_lapsed":
        return event.seat_id === this.#options.ownSeat()
          ? said("— nobody answered: the wheel stays where it is")
          : said(`— nobody answered ${this.#label(event.seat_id)}: the wheel stays where it is`);
      case "driver_changed":
        this.#driver = event.to;
        return this.#changed(event);
      default:
        return null;
    }
  }

  #accepted(event: EventOf<"prompt_accepted">): Said | null {
    const prompt = this.#promptOf(event);
    this.#prompts.set(event.prompt_id, prompt);
    const { own, label } = prompt;
    if (event.became === "steering") return said(own ? "— it joins the running turn before the agent's next step" : `— ${label} steers the running turn`);
    if (event.became !== "queued") return null;
    if (event.when_busy === "interrupt")
      return said(own ? "— it ends the running turn and runs next" : `— ${label} ends the running turn with a prompt that runs next`);
    return said(`— ${own ? "queued" : `${label} queued a prompt`}; it runs when the turns before it have ended`);
  }

  #requested({ seat_id, lapses_at }: EventOf<"driver_requested">, at: number): Said {
    const own = this.#options.ownSeat();
    const lapse = left(lapses_at - at);
    if (seat_id === own)
      return said(`— asking ${this.#driver === null ? "for the wheel" : `${this.#label(this.#driver)} for the wheel`}; it lapses in ${lapse}`);
    const who = this.#label(seat_id);
    if (this.#driver === null || this.#driver !== own) return { ...said(`— ${who} asks for the wheel`), aside: true };
    const how = this.#options.slash ? "/yield gives it" : "`sessiond yield` gives it";
    return { text: `! ${who} asks for the wheel: ${how}, it lapses in ${lapse}`, style: "yellow" };
  }

  #changed({ from, to, cause }: EventOf<"driver_changed">): Said {
    const own = this.#options.ownSeat();
    const [giver, taker] = [from === null ? "nobody" : this.#label(from), to === null ? "nobody" : this.#label(to)];
    if (own !== null && to === own)
      return said(
        cause === "forced" ? `— you took the wheel from ${giver}` : cause === "yielded" ? `— ${giver} gave you the wheel: you drive` : "— you drive now",
      );
    if (own !== null && from === own) {
      const hint = !this.#options.slash ? "" : to === null ? ", /take takes the wheel" : ", /take ask asks for the wheel";
      if (cause === "forced") return { text: `! ${taker} took the wheel: you watch now${hint}`, style: "yellow" };
      return said(`— ${taker} ${to === null ? "drives" : "drives now"}: you watch${hint}`);
    }
    const text =
      cause === "forced"
        ? `— ${taker} took the wheel from ${giver}`
        : to === null
          ? `— ${giver} let go of the wheel`
          : cause === "yielded"
            ? `— ${giver} gave the wheel to ${taker}`
            : `— ${taker} drives now`;
    return { ...said(text), aside: true };
  }

  #came(seatId: string, what: string): Said | null {
    if (!this.#labels.has(seatId) || seatId === this.#options.ownSeat()) return null;
    return { ...said(`— ${this.#label(seatId)} ${what}`), aside: true };
  }

  #label(seatId: string): string {
    return foreignLine(this.#labels.get(seatId) ?? "another client");
  }

  #who(by: Actor): string {
    return by.seat_id !== undefined && by.seat_id === this.#options.ownSeat() ? "you" : foreignLine(by.label);
  }

  #promptOf({ parts, by }: { parts: readonly ContentPart[]; by: Actor }): PromptText {
    const own = by.seat_id !== undefined && by.seat_id === this.#options.ownSeat();
    return { text: promptText(parts), own, label: foreignLine(by.label) };
  }
}

const said = (text: string): Said => ({ text, style: "dim" });

function settings({ title, starred, model, policy, mode, options }: EventOf<"session_configured">): string {
  const parts = [
    ...(title === undefined ? [] : [title === null ? "no title" : `the title: ${foreignLine(title)}`]),
    ...(starred === undefined ? [] : [starred ? "a star" : "no star"]),
    ...(model === undefined ? [] : [`the model: ${foreignLine(model)}`]),
    ...(policy === undefined ? [] : [`the policy: ${policyWords(policy)}`]),
    ...(mode === undefined ? [] : [`the mode: ${foreignLine(mode)}`]),
    ...Object.entries(options ?? {}).map(([id, value]) => settingWords(id, value)),
  ];
  return parts.join(", ");
}

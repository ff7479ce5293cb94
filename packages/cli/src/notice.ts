import { withoutSecrets } from "@sessiond/shared";
import { foreignLine, type Screen } from "./screen.ts";

/** One line for the person, on stderr, whatever stdout is for. */
export const say = (text: string): void => void process.stderr.write(`sessiond: ${foreignLine(withoutSecrets(text))}\n`);

/** Where what happens is shown: the agent's words on stdout, the rest where `aside` says. */
export type Notice = (text: string) => void;

/** A notice that does not fall into the middle of a line. */
export const noticeOn =
  (screen: Screen): Notice =>
  (text) => {
    screen.close();
    screen.put(process.stderr, `sessiond: ${foreignLine(withoutSecrets(text))}\n`);
  };

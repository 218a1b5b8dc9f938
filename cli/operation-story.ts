/** What is said of an operation that a person has ordered, from before the order to its end. */
import type { Bus } from "@baton/bus";
import { BatonError, type Event, MESSAGES, type Step } from "@baton/contracts";

/** An executor takes an order up in milliseconds, a successor after some seconds. */
const SILENCE_MS = 20_000;

/** Keeps what is said of the cluster until it is known which operation is meant, then hands it on as it comes. */
export function listen(bus: Bus, cluster: string, place: string) {
  const steps: Step[] = [];
  const events: Event[] = [];
  let wake = () => {};
  bus.subscribe(MESSAGES.step, { cluster }, (step) => {
    steps.push(step);
    wake();
  });
  bus.subscribe(MESSAGES.event, { cluster }, (event) => {
    events.push(event);
    wake();
  });
  return {
    async follow(operation: string, onStep: (step: Step) => void): Promise<{ steps: Step[]; ended: Event }> {
      let told = 0;
      for (;;) {
        const heard = new Promise<boolean>((resolve) => {
          const timer = setTimeout(() => resolve(false), SILENCE_MS);
          wake = () => {
            clearTimeout(timer);
            resolve(true);
          };
        });
        const mine = steps.filter((s) => s.operation === operation);
        for (; told < mine.length; told++) onStep(mine[told] as Step);
        const ended = events.find((e) => e.type === "operation-ended" && e.operation === operation);
        if (ended !== undefined) {
          wake();
          return { steps: mine, ended };
        }
        if (await heard) continue;
        throw new BatonError("E_NO_ANSWER", {
          place,
          message: `${operation} was ordered, and nothing has been heard of it for ${SILENCE_MS / 1_000} s.`,
          remedy: `See that an executor runs, then baton history ${operation}.`,
        });
      }
    },
  };
}

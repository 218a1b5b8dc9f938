/** What can happen to the executor of a failover or a switchover at one exact step. Drawn, or said with the name: `executor-dies-at-step=before:open`. */
import { setTimeout as pause } from "node:timers/promises";
import { LabError } from "../lab-error.ts";
import { monotonicMs } from "../monotonic.ts";
import { pick } from "./random.ts";
import type { Fault, Heal, Scene, Service } from "./scene.ts";

const steps = [
  "preflight",
  "freeze",
  "claim",
  "fence",
  "read",
  "choose",
  "catch-up",
  "commit",
  "open",
  "repoint",
  "announce",
  "prove",
];
const whens = ["before", "after"];

/** Once the main fault is healed the operation ends soon, if it has not yet. */
const endsWithinMs = 30_000;
/** Far more than one that wakes needs for what it was about to do. */
const actsWithinMs = 1_000;
const lookMs = 10;

export function awake(services: readonly Service[]): Heal {
  return async () => {
    for (const service of services) if (service.running) service.resume();
  };
}

/** `point` null: drawn. */
type Strike = (scene: Scene, point: string) => Promise<Heal>;

function atStep(name: string, what: string, strike: Strike, point: string | null = null): Fault {
  return {
    name: point === null ? name : `${name}=${point}`,
    what,
    weight: 4,
    roles: ["side"],
    armed: true,
    lastsMs: [3_000, 6_000],
    expects: "keep",
    refusals: [],
    holdsUp: true,
    make: (scene, [step, when]) =>
      strike(scene, point ?? `${when < 0.5 ? "before" : "after"}:${pick(steps, step)}`),
    at: (said) => atStep(name, what, strike, pointNamed(name, said)),
  };
}

function pointNamed(name: string, said: string): string {
  const [when = "", step = "", ...rest] = said.split(":");
  if (whens.includes(when) && steps.includes(step) && rest.length === 0) return said;
  throw new LabError("bad-option", {
    found: `fault ${name}=${said}`,
    expected: `before: or after:, and one of ${steps.join(", ")}`,
    remedy: `for example ${name}=before:open`,
  });
}

function signalled(signal: "kill" | "pause"): Strike {
  return async (scene, point) => {
    scene.armExecutors(`${point}=${signal}`);
    return async () => {
      scene.armExecutors(null);
      await awake(scene.services("executor"))();
    };
  };
}

/**
 * Stops the executor that comes to the point, and does something to it until its operation has been ended by another. Healed last
 * of all: it waits, with a bound, for an operation under way to come to the point, and for that end.
 */
function untilEnded(during: (scene: Scene, sleeper: Service) => Promise<Heal>): Strike {
  return async (scene, point) => {
    const before = scene.operations();
    const ended = () => scene.operations().ended - before.ended;
    const isUnderWay = () => scene.operations().ordered - before.ordered > ended();
    let healingMs = Number.POSITIVE_INFINITY;
    const isOver = () => monotonicMs() > healingMs + endsWithinMs;
    const sleeperSeen = async (): Promise<Service | undefined> => {
      for (;;) {
        const sleeper = scene.services("executor").find((executor) => executor.standsStill);
        if (sleeper !== undefined || isOver() || (Number.isFinite(healingMs) && !isUnderWay()))
          return sleeper;
        await pause(lookMs);
      }
    };
    scene.armExecutors(`${point}=pause`);
    const played = (async () => {
      const sleeper = await sleeperSeen();
      scene.armExecutors(null);
      if (sleeper === undefined) return;
      const wake = await during(scene, sleeper);
      while (ended() === 0 && !isOver()) await pause(lookMs);
      await wake();
      await pause(actsWithinMs);
    })();
    played.catch(() => undefined);
    return async () => {
      healingMs = monotonicMs();
      try {
        await played;
      } finally {
        scene.armExecutors(null);
        await awake(scene.services("executor"))();
      }
    };
  };
}

export const onSteps: readonly Fault[] = [
  atStep(
    "executor-dies-at-step",
    "the executor of the failover is killed before or after one step",
    signalled("kill"),
  ),
  atStep(
    "executor-sleeps-at-step",
    "the executor of the failover falls asleep before or after one step, and wakes",
    signalled("pause"),
  ),
  atStep(
    "executor-oversleeps-at-step",
    "the same, but it wakes only when another has ended its operation",
    untilEnded(async (_scene, sleeper) => awake([sleeper])),
  ),
  atStep(
    "executor-cut-at-step",
    "before or after one step the site of the failover's executor is cut from NATS, until another has ended its operation",
    untilEnded(async ({ network, lab }, sleeper) => {
      const servers = lab.nats.servers.map(({ name }) => name);
      const mend = await network.part([sleeper.site], servers);
      sleeper.resume();
      return mend;
    }),
  ),
];

/** Every fault that chaos knows: SAFETY.md's list, as far as this machine can make it. */
import { LabError } from "../lab-error.ts";
import type { Combination } from "./draw.ts";
import { onBaton } from "./faults-baton.ts";
import { onMembers } from "./faults-members.ts";
import { onNetwork } from "./faults-network.ts";
import { onPrimary } from "./faults-primary.ts";
import { onReplicas } from "./faults-replicas.ts";
import type { Fault } from "./scene.ts";
import type { World } from "./world.ts";

export const FAULTS: readonly Fault[] = [...onPrimary, ...onNetwork, ...onReplicas, ...onMembers, ...onBaton];

/** The named ones, or all. Error: LabError `bad-option`, also when none of them can be a round's main fault. */
export function faultsNamed(names: readonly string[] | undefined, world?: World): readonly Fault[] {
  if (names === undefined || names.length === 0) return FAULTS.filter((fault) => fitsIn(fault, world));
  const chosen = names.map((name) => fitting(faultNamed(name), world));
  if (chosen.some((fault) => fault.roles.includes("main"))) return chosen;
  throw new LabError("bad-option", {
    found: `faults ${names.join(", ")}, which only come on top of another`,
    expected: "one that can be a round's main fault",
    remedy: "add kill, for example",
  });
}

/** `a+b`: b on top of a. Nothing named: each main fault alone. Error: LabError `bad-option`. */
export function combinationsNamed(
  names: readonly string[] | undefined,
  world?: World,
): readonly Combination<Fault>[] {
  if (names === undefined || names.length === 0)
    return FAULTS.filter((fault) => fault.roles.includes("main") && fitsIn(fault, world)).map((fault) => [
      fault,
    ]);
  return names.map((name) => {
    const named = name.split("+").map((each) => fitting(faultNamed(each), world));
    const [main, ...others] = named as [Fault, ...Fault[]];
    const wrong =
      !main.roles.includes("main") ||
      others.some(
        (other, at) =>
          !other.roles.includes("side") || others.indexOf(other) !== at || other.name === main.name,
      );
    if (!wrong) return [main, ...others];
    throw new LabError("bad-option", {
      found: `faults ${name}`,
      expected: "one that can be a round's main fault, and behind + others that can come on top of it",
      remedy: "docs/chaos.md says which can, for example kill+executor-dies-at-step",
    });
  });
}

/** `name`, or `name=what is otherwise drawn`. Error: LabError `bad-option`. */
export function faultNamed(text: string): Fault {
  const [name = "", said] = text.split("=", 2);
  const fault = FAULTS.find((each) => each.name === name);
  if (fault === undefined) {
    throw new LabError("bad-option", {
      found: `fault ${name}`,
      expected: `some of ${FAULTS.map((each) => each.name).join(", ")}`,
      remedy: "correct the name",
    });
  }
  if (said === undefined) return fault;
  if (fault.at !== undefined) return fault.at(said);
  throw new LabError("bad-option", {
    found: `fault ${text}`,
    expected: `${name}, of which nothing can be said`,
    remedy: "leave out what stands behind =",
  });
}

function fitsIn(fault: Fault, world: World | undefined): boolean {
  return world === undefined || fault.fits?.(world) !== false;
}

/** Error: LabError `bad-option` for a fault that cannot be made in this world. */
function fitting(fault: Fault, world: World | undefined): Fault {
  if (fitsIn(fault, world)) return fault;
  throw new LabError("bad-option", {
    found: `fault ${fault.name} with ${world?.nodes} nodes and ${world?.acks} acks`,
    expected: "a world that it can be made in",
    remedy: "say --nodes 5 --acks 1",
  });
}

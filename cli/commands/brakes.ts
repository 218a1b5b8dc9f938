/** `baton pause`, `baton resume` and `baton ack`. */
import { hostname, userInfo } from "node:os";
import type { Bus } from "@baton/bus";
import { BatonError } from "@baton/contracts";
import { chooseNats, reachBus } from "../reach.ts";
import { list, plural } from "../view/amounts.ts";

const ANSWER_MS = 10_000;
const REASON_MOST = 500;

interface Where {
  config?: string;
  nats?: string;
  json?: true;
}

interface Whom extends Where {
  all?: true;
}

export async function pause(cluster: string | undefined, o: Whom & { reason: string }): Promise<void> {
  const request = {
    cluster: oneOrAll(cluster, o, "pause"),
    by: me(),
    reason: o.reason.slice(0, REASON_MOST),
  };
  const answer = await ask(o, (bus) => bus.command("pause", request, { timeoutMs: ANSWER_MS }));
  if (o.json) return print(answer);
  const { paused } = answer;
  const release = request.cluster === null ? "baton resume --all" : `baton resume ${request.cluster}`;
  const others = request.cluster === null ? "; clusters declared from now on are paused too" : "";
  console.log(
    `${paused.length === 0 ? "No cluster is declared yet" : `${list(paused)} ${paused.length === 1 ? "is" : "are"} paused`}${others}.`,
  );
  console.log("Baton watches and warns but does nothing by itself; what runs already goes on to its end.");
  console.log(`Release it with: ${release}`);
}

export async function resume(cluster: string | undefined, o: Whom): Promise<void> {
  const request = { cluster: oneOrAll(cluster, o, "resume"), by: me() };
  const answer = await ask(o, (bus) => bus.command("resume", request, { timeoutMs: ANSWER_MS }));
  if (o.json) return print(answer);
  const { resumed, stillPaused } = answer;
  if (resumed.length > 0) console.log(`${list(resumed)}: resumed. Baton acts by itself again.`);
  else if (stillPaused.length === 0)
    console.log(
      `${request.cluster ?? "No cluster"} was ${request.cluster === null ? "paused by --all" : "not paused"}: nothing to resume.`,
    );
  for (const { cluster: name, brake, next } of stillPaused)
    console.log(`${name} stays held: ${brake}. Release that with: ${next}`);
}

export async function ack(cluster: string, o: Where): Promise<void> {
  const request = { cluster, by: me() };
  const answer = await ask(o, (bus) => bus.command("ack", request, { timeoutMs: ANSWER_MS }));
  if (o.json) return print(answer);
  console.log(
    answer.acknowledged === 0
      ? `${cluster}: there was nothing to acknowledge.`
      : `${cluster}: ${plural(answer.acknowledged, "failover")} acknowledged: none of them counts for the cooldown or the flap limit any more.`,
  );
}

/** Null for all. A brake on everything must be asked for by name: a forgotten argument must not stop a whole fleet. */
function oneOrAll(cluster: string | undefined, o: Whom, verb: string): string | null {
  const both = cluster !== undefined && o.all === true;
  if (!both && (cluster !== undefined || o.all === true)) return cluster ?? null;
  throw new BatonError("E_USAGE", {
    place: `baton ${verb}`,
    message: both ? `Both ${cluster} and --all are given.` : "Neither a cluster nor --all is given.",
    remedy: `Name one (baton ${verb} shop), or say --all.`,
  });
}

async function ask<T>(o: Where, question: (bus: Bus) => Promise<T>): Promise<T> {
  const bus = await reachBus(await chooseNats(o));
  try {
    return await question(bus);
  } finally {
    await bus.drain();
  }
}

function print(answer: unknown): void {
  console.log(JSON.stringify(answer, null, 2));
}

/** `ann@ops1`: whom to ask when a cluster is found paused. */
function me(): string {
  let user = process.env.USER ?? "somebody";
  try {
    user = userInfo().username;
  } catch {
    // A container's user id may have no name.
  }
  return `${user}@${hostname().split(".")[0]}`.slice(0, 200);
}

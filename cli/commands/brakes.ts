/** `baton pause`, `resume`, `ack`, `maintenance` and `downtime`. */
import type { Bus } from "@baton/bus";
import { BatonError } from "@baton/contracts";
import { me } from "../me.ts";
import { chooseNats, reachBus } from "../reach.ts";
import { list, plural } from "../view/amounts.ts";
import { parseMoment, sayMoment } from "../when.ts";

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

interface Aside extends Where {
  from?: number;
  until?: string;
  for?: number;
  end?: true;
  reason: string;
}

export async function maintenance(cluster: string, o: Aside): Promise<void> {
  oneEnd(o, "maintenance");
  const window =
    o.end === true ? null : { fromUnixMs: o.from ?? null, untilUnixMs: endOf(o), forMs: o.for ?? null };
  const request = { cluster, window, by: me(), reason: o.reason.slice(0, REASON_MOST) };
  const answer = await ask(o, (bus) => bus.command("maintenance", request, { timeoutMs: ANSWER_MS }));
  if (o.json) return print(answer);
  const said = answer.windows.map((w) => `${sayMoment(w.fromUnixMs)} to ${sayMoment(w.untilUnixMs)}`);
  if (window === null) {
    if (said.length === 0) console.log(`${cluster} is not in maintenance, and none is planned.`);
    else console.log(`${cluster}: ended or taken back: ${list(said)}. Baton acts by itself.`);
    return;
  }
  console.log(`${cluster}: maintenance from ${list(said)}${answer.on ? ", on now" : ""}.`);
  console.log("Meanwhile Baton does nothing by itself, and tells only what may cost data or stays down.");
  if (answer.running !== null) console.log(`${answer.running} runs and goes on to its end.`);
  console.log(`It ends by itself, or with: baton maintenance ${cluster} --end`);
}

export async function downtime(cluster: string, node: string, o: Aside): Promise<void> {
  oneEnd(o, "downtime");
  const request = {
    cluster,
    node,
    untilUnixMs: endOf(o),
    forMs: o.for ?? null,
    by: me(),
    reason: o.reason.slice(0, REASON_MOST),
  };
  const answer = await ask(o, (bus) => bus.command("downtime", request, { timeoutMs: ANSWER_MS }));
  if (o.json) return print(answer);
  const { window, refusal } = answer;
  if (window === null) console.log(`${node} was not in downtime.`);
  else if (!answer.on) console.log(`${node} is back: Baton mends it by itself again, and may promote it.`);
  else {
    console.log(`${node}: in downtime until ${sayMoment(window.untilUnixMs)}.`);
    console.log("Meanwhile it is not promoted or mended, and its outage is no news.");
    console.log(`It ends by itself, or with: baton downtime ${cluster} ${node} --end`);
  }
  if (refusal !== null) console.log(`Note that a failover would be refused as things are now: ${refusal}.`);
}

function endOf({ from, until }: Aside): number | null {
  return until === undefined ? null : parseMoment(until, from ?? Date.now());
}

/** Exactly one of --until, --for and --end: an end that nobody named is an end that nobody meant. */
function oneEnd(o: Aside, verb: string): void {
  const ends = [o.until, o.for, o.end].filter((end) => end !== undefined).length;
  if (ends === 1) return;
  throw new BatonError("E_USAGE", {
    place: `baton ${verb}`,
    message: ends === 0 ? "No end is given." : "More than one of --until, --for and --end is given.",
    remedy: "Give one: --for 2h, --until 22:30, or --end to end it now.",
  });
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

/** Carries out the faults of a plan. */
import type { Incident } from "./incident.ts";
import type { Fault } from "./plan.ts";
import type { Process } from "./process.ts";

/**
 * What is acknowledged before Baton can have seen it: a sample a second, three until an undeclared acker is believed
 * (docs/decisions/0018), and the way through NATS.
 */
const UNSEEN_MS = 5_000;

export function befall(incident: Incident, fault: Fault): void {
  const { timeline, network, nats } = incident;
  const later = (ms: number, run: () => void) => timeline.after(ms, null, run);
  incident.noteHarm();
  incident.enliven();
  switch (fault.type) {
    case "kill-node": {
      const server = incident.servers[fault.node];
      if (server === undefined || !server.alive) return;
      // Of a replica the others would have to be as old: more than one disk at once is more than any proof rests on.
      const olderMs = incident.state.primary === server.name ? fault.olderMs : undefined;
      server.crash();
      if (olderMs !== undefined) server.loseTail(timeline.nowMs - olderMs);
      incident.noteHarm();
      for (const prober of incident.probers) prober.hangUp(server);
      later(fault.forMs, () => {
        incident.noteHarm();
        server.boot();
      });
      return;
    }
    case "pause-node": {
      const server = incident.servers[fault.node];
      server?.pause();
      incident.noteHarm();
      later(fault.forMs, () => {
        incident.noteHarm();
        server?.resume();
      });
      return;
    }
    case "cut": {
      const each = (act: (from: string, to: string) => void) => {
        for (const from of fault.from)
          for (const to of fault.to) {
            act(from, to);
            if (fault.both) act(to, from);
          }
      };
      each((from, to) => network.cut(from, to));
      incident.noteHarm();
      later(fault.forMs, () => {
        incident.noteHarm();
        each((from, to) => network.heal(from, to));
        nats.reachable();
      });
      return;
    }
    case "nats":
      incident.trace(null, "NATS is away");
      nats.stall();
      later(fault.forMs, () => {
        incident.trace(null, "NATS is back");
        nats.back();
      });
      return;
    case "strike": {
      const process = processOf(incident, fault.process);
      process?.arm({
        effect: fault.effect,
        when: fault.when,
        strike: () => strike(incident, process, fault.how, fault.forMs),
      });
      return;
    }
    case "pause-prober": {
      const prober = incident.probers[fault.prober];
      prober?.actor.pause();
      later(fault.forMs, () => prober?.actor.resume());
      return;
    }
    case "clock": {
      const process = processOf(incident, fault.process);
      if (process !== undefined) process.skewMs = fault.byMs;
      return;
    }
    case "switchover":
      person(incident, fault.to);
      return;
    case "errant": {
      const server = incident.servers[fault.node];
      if (server === undefined || !server.responsive || incident.state.primary === server.name) return;
      incident.trace(server.name, "somebody writes on it behind the primary's back");
      server.writeBehind();
      return;
    }
    case "semi-sync": {
      const server = incident.servers.find((s) => s.name === incident.state.primary);
      if (server === undefined || !server.responsive || !server.semiSource) return;
      incident.trace(server.name, "a person switches its semi-sync off");
      const { life } = server;
      server.setSemiSource(false);
      incident.promises.unseen(UNSEEN_MS);
      later(fault.forMs, () => {
        if (server.life !== life || !server.writable || incident.state.primary !== server.name) return;
        incident.trace(server.name, "a person switches its semi-sync on");
        server.setSemiSource(true);
      });
      return;
    }
    case "undeclared":
      incident.attachStranger(fault.forMs);
      incident.promises.unseen(UNSEEN_MS);
      return;
    case "nats-forgets":
      incident.trace(null, `NATS is as it was ${fault.byMs.toFixed(0)} ms ago`);
      nats.setBack(timeline.nowMs - fault.byMs);
      return;
    case "bucket-deleted":
      incident.trace(null, `the bucket ${fault.bucket} is deleted`);
      nats.remake(fault.bucket);
  }
}

function processOf(incident: Incident, name: string): Process | undefined {
  return (incident.deciders.get(name) ?? incident.executors.get(name))?.process;
}

function strike(
  incident: Incident,
  process: Process,
  how: "kill" | "kill-host" | "pause",
  forMs: number,
): void {
  if (how === "pause") {
    incident.trace(process.name, `is stopped (SIGSTOP) at its effect ${process.effects}`);
    process.pause();
    incident.timeline.after(forMs, null, () => {
      if (!process.paused) return;
      incident.trace(process.name, "goes on (SIGCONT)");
      process.resume();
    });
    return;
  }
  incident.trace(
    process.name,
    `dies${how === "kill" ? "" : " with its host"} at its effect ${process.effects}`,
  );
  process.kill(how === "kill-host");
  incident.timeline.after(forMs, null, () => incident.restart(process));
}

/** A person asks for a switchover; whatever is answered, the cluster must be well afterwards. */
function person(incident: Incident, to: string | null): void {
  const able = [...incident.deciders.values()].filter(({ process }) => process.up);
  if (able.length === 0) return;
  const { process, bus } = incident.random.pick(able);
  incident.timeline.after(0, process, () => {
    bus.ask("switchover", { cluster: "shop", to, dryRun: false, force: incident.random.chance(0.2) }).then(
      () => undefined,
      (error: unknown) =>
        incident.trace(
          process.name,
          `refuses the switchover: ${error instanceof Error ? error.message : error}`,
        ),
    );
  });
}

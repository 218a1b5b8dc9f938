/** What can happen to Baton's own processes and to NATS. */
import { setTimeout as pause } from "node:timers/promises";
import { connect } from "@nats-io/transport-node";
import type { LabNatsServer } from "../lab-nats.ts";
import { until } from "../until.ts";
import { revive } from "./faults-primary.ts";
import { awake, onSteps } from "./faults-step.ts";
import { pick } from "./random.ts";
import type { Fault, Heal, Scene } from "./scene.ts";

type Kind = Parameters<Scene["services"]>[0];

/** Killed, a service comes again by itself. */
function kill(kind: Kind, what: string): Fault {
  return {
    name: `${kind}-kill`,
    what,
    roles: ["main", "side"],
    lastsMs: [1_000, 2_000],
    expects: "keep",
    refusals: [],
    make: async (scene, [which]) => {
      const service = pick(scene.services(kind), which);
      if (service.running) service.kill();
      return async () => undefined;
    },
  };
}

function hang(kind: Kind, what: string): Fault {
  return {
    name: `${kind}-hang`,
    what,
    roles: ["main", "side"],
    lastsMs: [2_000, 4_000],
    expects: "keep",
    refusals: [],
    holdsUp: true,
    make: async (scene, [which]) => {
      const service = pick(scene.services(kind), which);
      if (service.running) service.hang();
      return awake([service]);
    },
  };
}

function natsBack(servers: readonly LabNatsServer[]): Heal {
  return async () => {
    await Promise.all(
      servers.map(async (server) => {
        if (!server.running) await server.start();
        else if (server.hung) server.resume();
      }),
    );
  };
}

export const onBaton: readonly Fault[] = [
  kill("prober", "kill -9 of one prober"),
  kill("decider", "kill -9 of one decider"),
  kill("executor", "kill -9 of one executor, whatever it does"),
  kill("notifier", "kill -9 of one notifier"),
  kill("auditor", "kill -9 of one auditor"),
  hang("prober", "SIGSTOP of one prober"),
  hang("decider", "SIGSTOP of one decider"),
  hang("executor", "SIGSTOP of one executor, whatever it does"),
  hang("notifier", "SIGSTOP of one notifier"),
  hang("auditor", "SIGSTOP of one auditor"),
  ...onSteps,
  {
    name: "switchover",
    what: "no fault: a person orders a switchover, into which the second fault falls",
    weight: 3,
    roles: ["main"],
    lastsMs: [1_500, 3_000],
    expects: "either",
    refusals: ["ackers-unreachable", "too-few-ackers-left", "node-lost"],
    make: async (scene) => {
      await scene.switchover();
      return async () => undefined;
    },
  },
  {
    name: "nats-kill",
    what: "kill -9 of one NATS server of three",
    roles: ["main", "side"],
    lastsMs: [2_000, 4_000],
    expects: "keep",
    refusals: [],
    holdsUp: true,
    make: async ({ lab }, [which]) => {
      const server = pick(lab.nats.servers, which);
      await server.kill();
      return natsBack([server]);
    },
  },
  {
    name: "nats-hang",
    what: "SIGSTOP of one NATS server of three",
    roles: ["main", "side"],
    lastsMs: [2_000, 4_000],
    expects: "keep",
    refusals: [],
    holdsUp: true,
    make: async ({ lab }, [which]) => {
      const server = pick(lab.nats.servers, which);
      server.hang();
      return natsBack([server]);
    },
  },
  {
    name: "nats-majority",
    what: "kill -9 of two NATS servers of three: no decision can be written",
    weight: 2,
    roles: ["main", "side"],
    lastsMs: [3_000, 5_000],
    expects: "keep",
    refusals: [],
    holdsUp: true,
    make: async ({ lab }, [left]) => {
      const survivor = pick(lab.nats.servers, left);
      const servers = lab.nats.servers.filter((server) => server !== survivor);
      await Promise.all(servers.map((server) => server.kill()));
      return natsBack(servers);
    },
  },
  {
    name: "shared-host",
    what: "kill -9 of the primary and a NATS server, as if they shared a host",
    weight: 2,
    roles: ["main"],
    lastsMs: [8_000, 10_000],
    expects: "either",
    refusals: ["node-lost", "lock-lost", "state-changed"],
    make: async ({ lab, primary }, [which]) => {
      const server = pick(lab.nats.servers, which);
      primary.killNow();
      await server.kill();
      const back = natsBack([server]);
      return async () => {
        await back();
        await revive(primary)();
      };
    },
  },
  {
    name: "clock-step",
    what: "the wall clock of one site of Baton jumps by up to an hour, forward or back, and jumps back at the end",
    weight: 2,
    roles: ["main", "side"],
    lastsMs: [2_500, 5_000],
    expects: "keep",
    refusals: [],
    make: async ({ sites, setClock }, [which, far]) => {
      const site = pick(sites, which);
      setClock(site, Math.round((2 * far - 1) * 3_600_000));
      return async () => setClock(site, 0);
    },
  },
  {
    name: "baton-down",
    what: "kill -9 of everything of Baton at once",
    roles: ["main"],
    lastsMs: [1_000, 2_000],
    expects: "keep",
    refusals: [],
    make: async (scene) => {
      for (const kind of ["prober", "decider", "executor", "notifier", "auditor"] as const)
        for (const service of scene.services(kind)) if (service.running) service.kill();
      return async () => undefined;
    },
  },
  stateDeleted(
    "state-deleted",
    "the cluster's state or its whole bucket is deleted from NATS, in calm",
    "keep",
  ),
  stateDeleted(
    "state-deleted-in-operation",
    "a person orders a switchover, and the cluster's state or its whole bucket is deleted from NATS within it",
    "either",
  ),
];

const statesStream = "KV_baton_state";
/** The deciders notice within seconds; the rest is for a busy machine, and for an operation that must end first. */
const putBackMs = 60_000;

/** Whoever heals it waits until the state is there again: that Baton puts it back is the point. */
function stateDeleted(name: string, what: string, expects: "keep" | "either"): Fault {
  return {
    name,
    what,
    weight: 2,
    roles: ["main"],
    lastsMs: [2_000, 4_000],
    expects,
    refusals: expects === "keep" ? [] : ["state-changed", "lock-lost"],
    make: async (scene, [whole, when]) => {
      const person = await connect({ servers: scene.lab.nats.urls });
      try {
        if (expects === "either") {
          const ordered = scene.switchover();
          await pause(400 * when);
          ordered.catch(() => undefined);
        }
        await person.request(`$JS.API.STREAM.${whole < 0.5 ? "DELETE" : "PURGE"}.${statesStream}`);
      } catch (error) {
        await person.close();
        throw error;
      }
      return async () => {
        const isBack = async () => {
          const info = await person.request(`$JS.API.STREAM.INFO.${statesStream}`).catch(() => null);
          const said = info?.json<{ state?: { messages: number } }>();
          return (said?.state?.messages ?? 0) > 0;
        };
        try {
          await until(isBack, {
            timeoutMs: putBackMs,
            everyMs: 100,
            onTimeout: () => new Error(`the state was not put back within ${putBackMs} ms`),
          });
        } finally {
          await person.close();
        }
      };
    },
  };
}

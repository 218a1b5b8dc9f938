/** The prober's shell: declarations in, samples out, and answers to those who ask to look now. */
import { type DeclaredCluster, MESSAGES } from "@baton/contracts";
import { type ServiceContext, startTrace } from "@baton/runtime";
import { Lookout } from "./lookout.ts";

export class Watch {
  readonly #ctx: ServiceContext;
  readonly #lookouts = new Map<string, Lookout>();
  readonly #stops: (() => void)[] = [];
  #known = false;

  constructor(ctx: ServiceContext) {
    this.#ctx = ctx;
  }

  async start(): Promise<void> {
    const { bus, instance, region } = this.#ctx;
    this.#stops.push(
      await bus.bucket("baton_clusters").watch({
        onChange: (cluster, declared) => this.#declare(cluster, declared),
        onReady: () => {
          this.#known = true;
        },
      }),
      bus.subscribe(MESSAGES.probe, {}, (request, meta) => {
        const lookout = this.#lookouts.get(request.cluster);
        if (lookout === undefined) return;
        void lookout.lookNow(request.nodes).then((samples) => {
          meta.respond?.({ cluster: request.cluster, prober: instance, region, samples });
        });
      }),
    );
  }

  ready(): { ok: boolean; why?: string } {
    return this.#known ? { ok: true } : { ok: false, why: "the clusters have not been read from NATS yet" };
  }

  async stop(): Promise<void> {
    for (const stop of this.#stops) stop();
    for (const lookout of this.#lookouts.values()) lookout.end();
  }

  #declare(cluster: string, declared: DeclaredCluster | null): void {
    const { bus, config, instance, region, log, access } = this.#ctx;
    if (declared === null) {
      this.#lookouts.get(cluster)?.end();
      this.#lookouts.delete(cluster);
      return;
    }
    let lookout = this.#lookouts.get(cluster);
    if (lookout === undefined) {
      const { calmMs, suspectMs, floorMs, connectTimeoutMs } = config.prober;
      lookout = new Lookout({
        cluster,
        region,
        prober: instance,
        access: access(cluster),
        calmMs,
        suspectMs,
        floorMs,
        connectTimeoutMs,
        publish: (sample, traceparent) => bus.publish(MESSAGES.sample, sample, { traceparent }),
        newTrace: startTrace,
        note: (text, sample) =>
          log[sample.outcome === "ok" ? "info" : "warn"](
            { cluster, node: sample.node, outcome: sample.outcome, errno: sample.errno },
            text,
          ),
      });
      this.#lookouts.set(cluster, lookout);
    }
    lookout.declare(declared);
  }
}

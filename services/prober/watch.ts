/** The prober's shell: declarations in, samples out, and answers to those who ask to look now. */
import { type DeclaredCluster, MESSAGES, type Sample } from "@baton/contracts";
import { type ServiceContext, startTrace } from "@baton/runtime";
import { Eyes } from "./eyes.ts";

export class Watch {
  readonly #ctx: ServiceContext;
  readonly #eyes = new Map<string, Eyes>();
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
        const eyes = this.#eyes.get(request.cluster);
        if (eyes === undefined) return;
        void eyes.lookNow(request.nodes, meta.traceparent).then((samples) => {
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
    await Promise.all([...this.#eyes.values()].map((eyes) => eyes.end()));
  }

  #declare(cluster: string, declared: DeclaredCluster | null): void {
    let eyes = this.#eyes.get(cluster);
    if (declared === null) {
      this.#eyes.delete(cluster);
      void eyes?.end();
      return;
    }
    if (eyes === undefined) {
      eyes = this.#open(cluster);
      this.#eyes.set(cluster, eyes);
    }
    eyes.declare(declared);
  }

  #open(cluster: string): Eyes {
    const { bus, config, instance, region, log, access, metrics } = this.#ctx;
    const samples = metrics.counter("samples_total", "Samples published.", ["cluster", "node", "outcome"]);
    const questions = metrics.counter("questions_total", "Questions put to nodes.", ["cluster", "kind"]);
    return new Eyes({
      ...config.prober,
      onQuestion: (kind) => questions.inc({ cluster, kind }),
      cluster,
      prober: instance,
      region,
      access: access(cluster),
      publish: (sample, traceparent) => {
        samples.inc({ cluster, node: sample.node, outcome: sample.outcome });
        bus.publish(MESSAGES.sample, sample, { traceparent });
      },
      startTrace,
      onTurn: (sample) => {
        const { node, outcome, errno } = sample;
        log[outcome === "ok" ? "info" : "warn"]({ cluster, node, outcome, errno }, inWords(sample));
      },
    });
  }
}

function inWords(sample: Sample): string {
  const where = `${sample.cluster}.${sample.node}`;
  if (sample.outcome === "ok") return `${where} answers`;
  if (sample.outcome === "closed") return `${where}: the held connection closed (${sample.error})`;
  return `${where}: ${sample.outcome}: ${sample.error}; Baton keeps trying`;
}

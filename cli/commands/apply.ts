/** `baton apply`. */
import { configFile, withClusters } from "../config-file.ts";
import { type Change, declare } from "../declare.ts";
import { chooseNats, natsOf, reachBus } from "../reach.ts";
import { type Paint, paint, wantsColour } from "../view/colour.ts";

export async function apply(o: { config?: string; nats?: string; prune?: true; json?: true }): Promise<void> {
  const { config, file } = configFile(o.config);
  withClusters(config, file);
  const choice = o.nats === undefined ? natsOf(config.nats) : await chooseNats({ nats: o.nats });
  const bus = await reachBus({ ...choice, replicas: config.nats.replicas });
  try {
    const changes = await declare(bus, config, { prune: o.prune === true });
    if (o.json) console.log(JSON.stringify(changes, null, 2));
    else
      for (const line of changeLines(changes, paint(wantsColour(process.stdout, process.env))))
        console.log(line);
  } finally {
    await bus.drain();
  }
}

export function changeLines(changes: readonly Change[], p: Paint): string[] {
  return changes.flatMap((change) => linesOf(change, p));
}

function linesOf({ cluster, what, details }: Change, p: Paint): string[] {
  const name = p.bold(cluster);
  switch (what) {
    case "added":
      return [`${p.green("+")} ${name} added`];
    case "changed":
      return [`${p.yellow("~")} ${name} changed`, ...details.map((line) => `    ${line}`)];
    case "removed":
      return [`${p.red("-")} ${name} removed`];
    case "same":
      return [`${p.dim("=")} ${name} unchanged`];
    case "stays":
      return [`${p.yellow("!")} ${name} is still declared in NATS; baton apply --prune takes it out`];
  }
}

/** `baton check`. */
import { askCluster } from "../check/ask-nodes.ts";
import { checkCluster, sharedServers } from "../check/cluster-checks.ts";
import type { Finding } from "../check/finding.ts";
import { checkNats } from "../check/nats-checks.ts";
import { configFile, withClusters } from "../config-file.ts";
import { declarationOf } from "../declare.ts";
import { Exit } from "../failure.ts";
import { plural } from "../view/amounts.ts";
import { checkLines } from "../view/check-view.ts";
import { paint, wantsColour } from "../view/colour.ts";

export async function check(o: { config?: string; json?: true }): Promise<void> {
  const { config, file } = configFile(o.config);
  withClusters(config, file);
  const names = Object.keys(config.clusters);
  const [nats, ...clusters] = await Promise.all([
    checkNats(config),
    ...names.map(async (cluster) => ({ cluster, answers: await askCluster(cluster, config) })),
  ]);
  const findings: Finding[] = [
    ...nats.findings,
    ...clusters.flatMap(({ cluster, answers }) => [
      ...checkCluster(declarationOf(cluster, config), answers),
      ...answers.flatMap((answer) => answer.findings),
    ]),
    ...sharedServers(clusters),
  ];
  const places = [
    { place: "nats", about: nats.about },
    ...clusters.flatMap(({ cluster, answers }) => [
      { place: cluster, about: plural(answers.length, "node") },
      ...answers.map(({ node, host, port, status }) => ({
        place: `${cluster}.${node}`,
        about: [`${host}:${port}`, status?.version, status && (status.readOnly ? "read-only" : "writable")]
          .filter(Boolean)
          .join("  "),
      })),
    ]),
  ];
  const fit = findings.every(({ level }) => level !== "error");
  if (o.json) console.log(JSON.stringify({ fit, places, findings }, null, 2));
  else {
    const p = paint(wantsColour(process.stdout, process.env));
    for (const line of checkLines(places, findings, p)) console.log(line);
  }
  if (!fit) throw new Exit(1);
}

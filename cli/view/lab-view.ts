/** The picture of `baton lab`, and the configuration that fits one. Pure. */
import type { LabStatus } from "@baton/lab";
import { stringify } from "yaml";
import type { Paint } from "./colour.ts";
import { columns } from "./columns.ts";

export function labLines(lab: LabStatus, p: Paint): string[] {
  const state = { running: p.green("running"), hung: p.yellow("hung"), stopped: p.red("stopped") };
  const nodes = lab.nodes.map((n) => [
    p.bold(n.name),
    `${n.host}:${n.port}`,
    state[n.state],
    n.primary ? p.cyan("primary") : "",
    p.dim(n.pid === null ? "" : `pid ${n.pid}`),
    p.dim(n.socket),
  ]);
  const nats = lab.nats.map((n) => [
    p.bold(n.name),
    n.url.replace(/^nats:\/\//, ""),
    state[n.state],
    "",
    p.dim(n.pid === null ? "" : `pid ${n.pid}`),
    "",
  ]);
  return [`lab ${p.bold(lab.name)}  ${p.dim(lab.dir)}`, ...columns([...nodes, ...nats], { indent: 2 })];
}

/** A baton.yaml for `baton up` over this lab. Its data lies in the lab's own directory and goes with it. */
export function labConfig(lab: LabStatus): string {
  const { baton, repl } = lab.accounts;
  const replicas = lab.nats.length >= 3 ? 3 : 1;
  return stringify({
    nats: {
      ...(lab.nats.length > 0 ? { url: lab.nats.map(({ url }) => url), replicas } : {}),
      store: `${lab.dir}/baton/nats`,
    },
    mysql: { ...baton, replication: repl },
    auditor: { file: `${lab.dir}/baton/audit.sqlite` },
    clusters: {
      [lab.name]: {
        nodes: Object.fromEntries(
          lab.nodes.map(({ name, host, port, region }) => [name, { host, port, region }]),
        ),
      },
    },
  });
}

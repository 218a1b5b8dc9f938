/** `baton up`: everything on this machine, until it is told to stop. */
import { dirname, isAbsolute, resolve } from "node:path";
import type { ClusterView, Config } from "@baton/contracts";
import { configFile } from "../config-file.ts";
import { Exit } from "../failure.ts";
import { onInterrupt } from "../interrupt.ts";
import { LineOut } from "../line-out.ts";
import { checkFolder, checkPorts, portsOf } from "../places.ts";
import { type System, startSystem, storeOf } from "../system.ts";
import { duration } from "../view/amounts.ts";
import { type Paint, paint, wantsColour } from "../view/colour.ts";
import { type LogEntry, logLine } from "../view/log-line.ts";
import { readyLine } from "../view/status-view.ts";

/** Services that wait for NATS or a node are no failure: they say so in their logs, and `up` goes on. */
const READY_MS = 60_000;
/** A cluster that is not known after this is reported as it is. */
const FIRST_LOOK_MS = 8_000;

const SEVERITY = { trace: 10, debug: 20, info: 30, warn: 40, error: 50, fatal: 60 } as const;

export async function up(o: { config?: string; json?: true }): Promise<void> {
  const { config, file } = configFile(o.config);
  await checkPorts(portsOf(config), file);
  await checkFolders(config, file);

  const asJson = o.json === true || !process.stdout.isTTY;
  const p = paint(wantsColour(process.stdout, process.env));
  const out = new LineOut(process.stdout);
  const least = SEVERITY[config.log.level];
  const print = (source: string, entry: LogEntry, raw: string) => {
    if (SEVERITY[entry.level] < least) return;
    process.stdout.write(
      `${asJson ? jsonLine(source, entry, raw) : logLine(source, entry, Date.now(), p)}\n`,
    );
  };
  const say = (level: LogEntry["level"], message: string, fields: Record<string, unknown> = {}) =>
    print("up", { level, timeUnixMs: Date.now(), message, fields }, "");

  let system: System | null = null;
  const interrupt = onInterrupt(() => system?.stopNow());
  try {
    system = await startSystem({
      config,
      file,
      signal: interrupt.signal,
      onLog: print,
      onExit: (instance, exit) => {
        if (interrupt.signal.aborted) return;
        const how = exit.signal ? `by ${exit.signal}` : `with code ${exit.code}`;
        if (exit.restartInMs === null) say("error", `${instance} ended ${how}`);
        else say("warn", `${instance} ended ${how}; it is started again in ${duration(exit.restartInMs)}`);
      },
      onDeclared: (changes, warnings) => {
        for (const warning of warnings) say("warn", warning);
        for (const { cluster, what, details } of changes) {
          if (what === "stays") say("warn", `${cluster} is still declared in NATS and not in ${file}`);
          else if (what !== "same")
            say("info", `cluster ${cluster} ${what}`, details.length > 0 ? { details } : {});
        }
      },
    });
    for (;;) {
      try {
        await system.ready(READY_MS);
        break;
      } catch (error) {
        if (interrupt.signal.aborted || (error as { code?: string }).code !== "E_NO_ANSWER") throw error;
        say("warn", (error as Error).message);
      }
    }
    await sayReady(system, Object.keys(config.clusters), interrupt.signal, (view, text) => {
      if (asJson) say("info", text(paint(false)), { cluster: view.cluster, failover: view.failover });
      else out.write(text(p));
    });
    await aborted(interrupt.signal);
  } catch (error) {
    if (!interrupt.signal.aborted) throw error;
  } finally {
    if (system && interrupt.signal.aborted) say("info", "stopping");
    await system?.stop();
    interrupt.release();
  }
  throw new Exit(0);
}

async function checkFolders(config: Config, file: string): Promise<void> {
  const here = (path: string) => (isAbsolute(path) ? path : resolve(dirname(file), path));
  if (config.nats.url === undefined) await checkFolder(storeOf(config, file), "nats.store", file);
  await checkFolder(dirname(here(config.auditor.file)), "auditor.file", file);
}

/** One line for each cluster, once it is adopted and its failover judged, or as it is when that takes long. */
async function sayReady(
  system: System,
  clusters: readonly string[],
  signal: AbortSignal,
  say: (view: ClusterView, text: (p: Paint) => string) => void,
): Promise<void> {
  const bus = await system.bus();
  const waiting = new Set(clusters);
  const deadline = performance.now() + FIRST_LOOK_MS;
  while (waiting.size > 0) {
    signal.throwIfAborted();
    const late = performance.now() > deadline;
    const { clusters: views } = await bus
      .command("status", { cluster: null }, { timeoutMs: 2_000 })
      .catch(() => ({ clusters: [] as ClusterView[] }));
    for (const view of views) {
      if (!waiting.has(view.cluster)) continue;
      if (!late && !isSettled(view)) continue;
      waiting.delete(view.cluster);
      say(view, (p) => readyLine(view, p));
    }
    if (late) break;
    await new Promise((done) => setTimeout(done, 100));
  }
}

/** Nothing more is to be expected at the start: said before, it would have to be taken back. */
function isSettled(view: ClusterView): boolean {
  const inPlace = view.nodes.every(({ node, role }) => node === view.primary || role === "replica");
  return view.phase === "steady" && view.failover.possible && inPlace;
}

function jsonLine(source: string, entry: LogEntry, raw: string): string {
  if (raw.startsWith("{")) return raw;
  const { level, message, fields, timeUnixMs } = entry;
  return JSON.stringify({
    level,
    time: new Date(timeUnixMs ?? Date.now()).toISOString(),
    service: source,
    ...fields,
    msg: message,
  });
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    if (signal.aborted) done();
    else signal.addEventListener("abort", () => done(), { once: true });
  });
}

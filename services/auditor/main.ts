/** The auditor: wires the streams to the archive, and the archive to `baton history`. */
import { BatonError, MESSAGES, STREAMS, type StreamName } from "@baton/contracts";
import { runService, type ServiceContext, type ServiceSpec } from "@baton/runtime";
import { openArchive } from "./archive.ts";
import { history } from "./history.ts";
import { type KeeperReport, keeper } from "./keeper.ts";
import { ARCHIVED, type Kind, toDraft } from "./record.ts";
import { verifyFile } from "./verify.ts";

/** Well above one fsync; what this auditor held when it died comes again after it. */
const ACK_WAIT_MS = 10_000;
/** Of each stream: what one transaction may gather. */
const AT_A_TIME = 64;

const auditor: ServiceSpec = {
  service: "auditor",
  async start(ctx) {
    const archive = openArchive(ctx.config.auditor.file);
    const noted = () => ({ file: archive.file, archive: archive.id, ...archive.head() });
    ctx.log.info(noted(), `Archive ${archive.file} holds ${archive.head().seq} records`);
    const keep = keeper(archive, reporter(ctx, archive.id));

    // Named after the file and not after the instance: what was read stays read after a restart, and a new
    // file reads everything that the streams still hold.
    const durable = `auditor-${archive.id}`;
    const consumers = await Promise.all(
      (Object.keys(STREAMS) as StreamName[]).map((stream) =>
        ctx.bus.consume(
          ARCHIVED[stream].map((kind) => MESSAGES[kind]),
          { stream, durable, ackWaitMs: ACK_WAIT_MS, concurrency: AT_A_TIME, deliver: "all" },
          (message, payload, meta) => keep.keep(toDraft(stream, message.type as Kind, payload, meta)),
        ),
      ),
    );
    const unserve = await ctx.bus.serve("history", async (request) =>
      history(archive, ctx.instance, request),
    );

    return {
      ready() {
        const fault = keep.fault();
        return fault === null ? { ok: true } : { ok: false, why: fault.line() };
      },
      async stop() {
        await Promise.allSettled([unserve(), ...consumers.map((c) => c.stop())]);
        ctx.log.info(noted(), `Archive ${archive.file} is closed with ${archive.head().seq} records`);
        archive.close();
      },
    };
  },
};

function reporter(ctx: ServiceContext, archiveId: string): KeeperReport {
  const records = ctx.metrics.counter("auditor_records_total", "Messages archived.", ["kind"]);
  const duplicates = ctx.metrics.counter("auditor_duplicates_total", "Messages that were archived already.");
  const broken = ctx.metrics.gauge("auditor_store_broken", "1 while the archive cannot be written.");
  return {
    stored(drafts, result) {
      duplicates.inc(result.duplicates);
      for (const kind of result.kinds) records.inc({ kind });
      ctx.log.debug({ received: drafts.length, ...result }, "archived");
    },
    broken(fault, first) {
      broken.set(1);
      ctx.log.error({ code: fault.code, place: fault.place }, fault.line());
      const alert = {
        id: `archive-${archiveId}-${first.sha256.slice(0, 16)}`,
        cluster: first.cluster,
        severity: "warning",
        code: "internal",
        title: "The auditor cannot write its archive",
        summary: `${fault.code} at ${fault.place} (${ctx.instance}): ${fault.message}`,
        action: fault.remedy,
        node: null,
        epoch: 0,
        operation: null,
        source: ctx.instance,
        atUnixMs: Date.now(),
      } as const;
      ctx.bus.append(MESSAGES.alert, alert, { msgId: alert.id }).catch((error: unknown) => {
        ctx.log.warn({ err: error }, "The alert about the archive could not be sent");
      });
    },
    mended() {
      broken.set(0);
      ctx.log.info({}, "The archive can be written again");
    },
  };
}

const at = process.argv.indexOf("--verify");
if (at === -1) {
  await runService(auditor);
} else {
  const print = (line: string) => process.stdout.write(`${line}\n`);
  const file = process.argv[at + 1];
  if (file === undefined) {
    const usage = new BatonError("E_USAGE", {
      place: "--verify",
      message: "No file is named.",
      remedy: "node services/auditor/main.ts --verify FILE",
    });
    print(usage.line());
    process.exitCode = usage.exitCode;
  } else {
    process.exitCode = verifyFile(file, print);
  }
}

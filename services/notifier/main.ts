/** The notifier: wires the stream of alerts to the configured channels. */
import { MESSAGES } from "@baton/contracts";
import { runService, type ServiceContext, type ServiceSpec } from "@baton/runtime";
import { ChannelRefused } from "./channel.ts";
import { openChannels } from "./channels/open.ts";
import { type CourierReport, courier, handsFor } from "./deliver.ts";
import { remember } from "./memory.ts";
import own from "./package.json" with { type: "json" };

/** After so long without a sign of life from this process another notifier gets the alert. */
const ACK_WAIT_MS = 10_000;

const notifier: ServiceSpec = {
  service: "notifier",
  async start(ctx) {
    const channels = openChannels(ctx.config.notifier.channels, { log: ctx.log, version: own.version });
    const { deliver } = courier(channels, remember(), reporter(ctx));
    for (const c of channels) {
      ctx.log.info({ channel: c.name, minSeverity: c.minSeverity }, `Channel ${c.name} leads to ${c.target}`);
    }
    const consumer = await ctx.bus.consume(
      [MESSAGES.alert],
      {
        stream: "BATON_ALERTS",
        durable: "notifier",
        ackWaitMs: ACK_WAIT_MS,
        concurrency: handsFor(channels.length),
        deliver: "all",
      },
      (_message, alert, meta, control) => deliver({ alert, traceparent: meta.traceparent }, control.signal),
    );
    return {
      ready: () => ({ ok: true }), // A channel that is away is told in the log and in the metrics.
      stop: () => consumer.stop(),
    };
  },
};

function reporter(ctx: ServiceContext): CourierReport {
  const deliveries = ctx.metrics.counter("notifier_deliveries_total", "Alerts brought to a channel.", [
    "channel",
    "result",
  ]);
  const isAway = ctx.metrics.gauge("notifier_channel_away", "1 while a channel fails and is left alone.", [
    "channel",
  ]);
  return {
    result(channel, { alert }, result, error) {
      deliveries.inc({ channel: channel.name, result });
      if (!(error instanceof ChannelRefused)) return;
      ctx.log.error(
        { channel: channel.name, alert: alert.id, severity: alert.severity },
        `Channel ${channel.name} refuses the alert ${alert.id} for good: ${error.message}. ${error.remedy}`,
      );
    },
    away(channel, away, why) {
      isAway.set({ channel: channel.name }, away ? 1 : 0);
      if (away) {
        const line = `Channel ${channel.name} (${channel.target}) fails: ${why}; its alerts wait in the stream and are tried again`;
        ctx.log.error({ channel: channel.name }, line);
      } else {
        ctx.log.info({ channel: channel.name }, `Channel ${channel.name} takes alerts again`);
      }
    },
  };
}

await runService(notifier);

/** What the model server answers to Baton's questions. */
import type { Row } from "@baton/mysql";
import { mysql84, VERSION } from "./dialect.ts";
import type { Mysqld } from "./mysqld.ts";
import type { Select } from "./statements.ts";

export function rowsOf(server: Mysqld, what: Select): Row[] {
  switch (what) {
    case "version":
      return [{ version: VERSION }];
    case "status":
      return [{ status: statusOf(server) }];
    case "half-received":
    case "open-writers":
      return [];
    case "owned":
      return [{ owned: server.ownedText() }];
    case "closing":
      return [{ closing: server.closing ? 1 : 0 }];
    case "still-waited-for":
      return [{ still: server.semiSource ? 1 : 0 }];
    case "drain-holders":
      return server.drainHolders().map((id) => ({ id }));
    case "obstacles":
      return [{ oldestMs: 0, locked: 0 }];
    case "client-sessions":
      return [...server.sessions.values()].flatMap((s) => (s.client.baton ? [] : [{ id: s.id }]));
    // Only people read them.
    case "sessions":
    case "position":
      return [];
    case "epoch":
      return server.row === null ? [] : [{ ...server.row }];
    case "channel-settings":
      return settingsOf(server);
    case "relay-log":
      // It has one only: no boot puts its applier behind another (test/kept.test.ts does that to a real server).
      return [{ Relay_Log_File: "relay.000001", Log_name: "relay.000001" }];
    case "canary":
      return [
        {
          checksum: server.canary === null ? "" : `${server.canary.epoch}/${server.canary.operation}`,
          executed: server.executedText(),
        },
      ];
  }
}

/** Every channel of the model is set as Baton sets it, with the one account that there is. */
function settingsOf({ channel: { source } }: Mysqld): Row[] {
  if (source === null) return [];
  const { host, port } = source;
  return [{ host, port, user: "baton", tls: 0, autoPos: "1", ...mysql84.channelDefaults }];
}

/** The JSON value of the dialect's `statusSql`. */
function statusOf(server: Mysqld): Row {
  const { channel, timeline } = server;
  const nowS = Math.floor(timeline.nowMs / 1_000);
  const ageMs = channel.heardAgeMs();
  return {
    uuid: server.uuid,
    id: server.index + 1,
    version: VERSION,
    nowS,
    ro: server.readOnly ? 1 : 0,
    sro: server.superReadOnly ? 1 : 0,
    gtidMode: "ON",
    rlr: server.o.relayLogRecovery ? 1 : 0,
    skip: 1,
    logBin: 1,
    logUpdates: 1,
    executed: server.executedText(),
    counters: {
      Uptime: nowS - Math.floor(server.startedMs / 1_000),
      Rpl_semi_sync_source_status: server.semiSource ? "ON" : "OFF",
      Rpl_semi_sync_source_clients: server.semiClients,
      Rpl_semi_sync_source_wait_sessions: server.waiters,
      Rpl_semi_sync_replica_status: channel.semiSyncActive ? "ON" : "OFF",
    },
    channel:
      channel.source === null
        ? null
        : {
            host: channel.source.host,
            port: channel.source.port,
            autoPos: 1,
            sourceUuid: channel.source.uuid,
            receiver: channel.receiver.toUpperCase(),
            rErrno: channel.receiverError?.errno ?? 0,
            rError: channel.receiverError?.text ?? "",
            received: channel.receivedText,
            applier: channel.applier === "on" ? "ON" : "OFF",
            kErrno: 0,
            kError: "",
            nowUs: timeline.nowMs * 1_000,
            heardUs: [ageMs === null ? null : ageMs * 1_000, null, null],
            idle: channel.idle ? 1 : 0,
          },
    workers: [{ errno: 0, error: "", ended: "", delayUs: 1_000 }],
    semiSync: {
      source: server.semiSource ? 1 : 0,
      acks: server.acks,
      timeoutMs: 4_294_967_295,
      waitNoReplica: 1,
      waitPoint: "AFTER_SYNC",
      replica: server.semiReplica ? 1 : 0,
    },
  };
}

/**
 * Streams and buckets are made when a service starts, and may vanish while it runs: somebody deletes one, restores NATS from a backup, or
 * empties a bucket. That is noticed within seconds, told, and what is missing is made again.
 */
import type { StreamInfo } from "@nats-io/jetstream";
import type { Link } from "./link.ts";
import { describe } from "./retry.ts";
import { remakeStream, streamNames } from "./streams.ts";

/** One request for all of them. */
const LOOK_EVERY_MS = 2_500;
/** Whoever finds a stream missing asks at once, but not more often. */
const ASKED_EVERY_MS = 200;

export interface Loss {
  stream: string;
  /**
   * `missing` it was not there; `new` it is another one of the same name; `set-back` its messages end earlier than they did; `emptied` keys
   * are gone that nobody removed.
   */
  how: "missing" | "new" | "set-back" | "emptied";
}

export interface StreamGuard {
  /** Somebody met a stream that is not there. */
  look(): void;
  /** Returns how to stop. */
  onLoss(callback: (loss: Loss) => void): () => void;
  stop(): void;
}

interface Known {
  created: string;
  lastSequence: number;
}

/** `held`: how many subjects of each stream a watch knows, where none of them expires. */
export function guardStreams(link: Link, held: () => ReadonlyMap<string, number>): StreamGuard {
  const wanted = new Set(streamNames());
  const known = new Map<string, Known>();
  const listeners = new Set<(loss: Loss) => void>();
  let looking = false;
  let lookedMs = Number.NEGATIVE_INFINITY;
  let said = false;

  const tell = (loss: Loss): void => {
    link.log.error({ ...loss }, lossInWords(loss));
    for (const listener of [...listeners]) {
      try {
        listener(loss);
      } catch (error) {
        link.log.error({ err: error }, `A listener to lost streams failed: ${describe(error)}`);
      }
    }
  };

  async function look(): Promise<void> {
    if (looking || !link.connected || performance.now() - lookedMs < ASKED_EVERY_MS) return;
    looking = true;
    lookedMs = performance.now();
    try {
      const before = new Map(known);
      const heldBefore = held();
      const found = new Map<string, StreamInfo>();
      for await (const info of link.admin.streams.list())
        if (wanted.has(info.config.name)) found.set(info.config.name, info);
      for (const name of wanted) {
        // A list leaves out a stream whose leader did not answer in time: only asked for by its name is it known to be gone.
        const listed = found.get(name);
        const { info, made } = listed ? { info: listed, made: false } : await remakeStream(link, name);
        const was = before.get(name);
        if (made) tell({ stream: name, how: "missing" });
        else if (was !== undefined && was.created !== info.created) tell({ stream: name, how: "new" });
        else if (was !== undefined && info.state.last_seq < was.lastSequence)
          tell({ stream: name, how: "set-back" });
        else if (info.state.messages < (heldBefore.get(name) ?? 0)) tell({ stream: name, how: "emptied" });
        known.set(name, { created: info.created, lastSequence: info.state.last_seq });
      }
      said = false;
    } catch (error) {
      if (!said)
        link.log.warn(
          { error: describe(error) },
          `Baton's streams could not be looked at: ${describe(error)}`,
        );
      said = true;
    } finally {
      looking = false;
    }
  }

  const timer = setInterval(() => void look(), LOOK_EVERY_MS);
  timer.unref();
  void look();
  return {
    look: () => void look(),
    onLoss(callback) {
      listeners.add(callback);
      return () => listeners.delete(callback);
    },
    stop: () => clearInterval(timer),
  };
}

export function lossInWords({ stream, how }: Loss): string {
  switch (how) {
    case "missing":
      return `NATS has lost the stream ${stream}; Baton has made it again, empty`;
    case "new":
      return `NATS has lost the stream ${stream}: it has been made again, empty`;
    case "set-back":
      return `NATS was set back: what the stream ${stream} held last is gone`;
    case "emptied":
      return `NATS has lost keys of the stream ${stream}`;
  }
}

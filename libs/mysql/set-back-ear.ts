/**
 * When a receiver last heard its source, by the stamps that its server keeps of it (`heardUs`: their ages by the server's own wall clock).
 * A clock that was set back has stamps ahead of it. They would make a source that is dead look alive for as long as the clock
 * was set back by, so then only that they change counts, timed by our own monotonic clock.
 */
import type { Row } from "./session.ts";

/** Some stamp is ahead of the server's clock: it was set back since. */
export function setBack(channel: Row): boolean {
  return agesUs(channel).some((us) => us < 0);
}

/** The age of the newest stamp that is not ahead of the clock, in milliseconds; null when there is none. */
export function heardAgeMs(channel: Row): number | null {
  const past = agesUs(channel).filter((us) => us >= 0);
  return past.length === 0 ? null : Math.min(...past) / 1_000;
}

export class SetBackEar {
  #stamps = "";
  #changedAtMs = 0;

  /** For how long the stamps have stood, in milliseconds; 0 at the first look. `now` is monotonic milliseconds. */
  unchangedMs(channel: Row, now: number): number {
    const nowUs = Number(channel.nowUs);
    const stamps = agesUs(channel)
      .map((us) => nowUs - us)
      .join();
    if (stamps !== this.#stamps) {
      this.#stamps = stamps;
      this.#changedAtMs = now;
    }
    return now - this.#changedAtMs;
  }
}

function agesUs(channel: Row): number[] {
  return (channel.heardUs as unknown[]).filter((us) => us !== null).map(Number);
}

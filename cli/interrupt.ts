/** Ctrl-C, SIGTERM and a closed terminal, for the commands that have something to put away first. */

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export interface Interrupt {
  /** Aborted by the first signal. */
  signal: AbortSignal;
  /** Stops listening: from now on a signal ends the process as usual. */
  release(): void;
}

/**
 * @param atOnce what is done when a second signal says that it takes too long; the process then exits
 */
export function onInterrupt(atOnce: () => void): Interrupt {
  const controller = new AbortController();
  const listener = () => {
    if (!controller.signal.aborted) return controller.abort(new Error("interrupted"));
    atOnce();
    process.exit(130);
  };
  for (const name of SIGNALS) process.on(name, listener);
  return {
    signal: controller.signal,
    release: () => {
      for (const name of SIGNALS) process.off(name, listener);
    },
  };
}

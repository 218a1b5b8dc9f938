import type { NodeStatus, ReplicaStatus } from "@baton/contracts";
import { describe, expect, it } from "vitest";
import { type ChannelSettings, channelStep, unappliedIn } from "./channel.ts";

const P = "aaaaaaaa-0000-0000-0000-000000000001";
const wanted: ChannelSettings = {
  host: "h1",
  port: 3306,
  user: "repl",
  tls: false,
  autoPosition: true,
  heartbeatS: 0.2,
  retryS: 1,
  retries: 86_400,
};

/** Has received 1 to 9 and executed 1 to `executed`; its receiver stands. */
function of(
  executed: number,
  replica: Partial<ReplicaStatus> = {},
): Pick<NodeStatus, "executed" | "replica"> {
  return {
    executed: `${P}:1-${executed}`,
    replica: {
      sourceHost: "h1",
      sourcePort: 3306,
      sourceUuid: P,
      receiver: "off",
      receiverErrno: 0,
      receiverError: "",
      heardAgeMs: null,
      applier: "off",
      applierErrno: 0,
      applierError: "",
      received: `${P}:1-9`,
      autoPosition: true,
      delayMs: null,
      ...replica,
    },
  };
}

describe("a channel whose relay log holds what is not applied", () => {
  it("is only started where it points already, whatever its applier does", () => {
    expect(channelStep(of(5), wanted, wanted)).toEqual({ do: "start" });
    expect(channelStep(of(5, { applierErrno: 1062 }), wanted, wanted)).toEqual({ do: "start" });
    expect(channelStep(of(5), { ...wanted, tls: true }, wanted)).toEqual({ do: "start" });
  });
  it("is redirected while its applier runs", () => {
    expect(channelStep(of(5, { applier: "on" }), null, wanted)).toEqual({ do: "redirect" });
  });
  it.each(["host", "port", "user", "heartbeatS", "retryS", "retries"] as const)(
    "is not changed for another %s while its applier stands",
    (key) => {
      const now = { ...wanted, [key]: key === "host" || key === "user" ? "other" : 7 };
      expect(channelStep(of(5), now, wanted)).toMatchObject({ do: "apply" });
    },
  );
  it("is not changed while its applier has an error, nor for auto position while it runs", () => {
    for (const replica of [{ applierErrno: 1062 }, { applier: "on", autoPosition: false }] as const) {
      const step = channelStep(of(5, replica), null, wanted);
      expect(step).toMatchObject({ do: "apply" });
      expect(step.do === "apply" && step.unapplied.toString()).toBe(`${P}:6-9`);
    }
    expect(channelStep(of(5, { applier: "on", applierErrno: 1062 }), null, wanted).do).toBe("apply");
  });
});

it("a channel is changed when there is none, or nothing is left to apply", () => {
  expect(channelStep({ executed: "", replica: null }, null, wanted)).toEqual({ do: "change" });
  expect(channelStep(of(9), { ...wanted, host: "h2" }, wanted)).toEqual({ do: "change" });
  expect(channelStep(of(12), null, wanted)).toEqual({ do: "change" });
  expect(unappliedIn(of(12)).isEmpty()).toBe(true);
});

/** Sessions and the names of their faults, on a real server and on sockets that only play one. */
import { createServer, type Server, type Socket } from "node:net";
import { type Lab, startLab } from "@baton/lab";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { addresses } from "./addresses.ts";
import { classify, MysqlFault } from "./fault.ts";
import { openSession, type Session } from "./session.ts";

let lab: Lab;
const open: Session[] = [];
beforeAll(async () => {
  lab = await startLab({ nodes: 1, natsServers: 0, replication: false });
});
afterEach(() => {
  for (const session of open.splice(0)) session.destroy();
});
afterAll(() => lab?.stop());

async function session(
  o: {
    user?: string;
    password?: string;
    tls?: { ca?: string };
    host?: string;
    port?: number;
    ms?: number;
  } = {},
) {
  const { host, port } = lab.node("n1");
  const made = await openSession(
    { host: o.host ?? host, port: o.port ?? port },
    {
      ...lab.accounts.baton,
      ...(o.user === undefined ? {} : { user: o.user }),
      ...(o.password === undefined ? {} : { password: o.password }),
      ...(o.tls ? { tls: o.tls } : {}),
    },
    { connectTimeoutMs: o.ms ?? 5_000, name: "baton-test" },
  );
  open.push(made);
  return made;
}

const faultOf = (promise: Promise<unknown>): Promise<MysqlFault> =>
  promise.then(
    () => Promise.reject(new Error("it should have failed")),
    (error: unknown) => (error instanceof MysqlFault ? error : Promise.reject(error)),
  );

const closing = (s: Session) => new Promise<MysqlFault>((resolve) => s.onClosed(resolve));

describe("a session", () => {
  it("gives rows, lists of rows for several statements, and none for those without a result", async () => {
    const s = await session();
    expect(await s.query("SELECT ? AS a, ? AS b", { params: ['it\'s \\ "x"\n', 7] })).toEqual([
      { a: 'it\'s \\ "x"\n', b: 7 },
    ]);
    expect(await s.queryAll("SELECT 1 a; SET @x = 1; SELECT 2 b WHERE 0; SELECT 3 c")).toEqual([
      [{ a: 1 }],
      [],
      [],
      [{ c: 3 }],
    ]);
    expect(await s.queryAll("SET @x = 1; SET @y = 2")).toEqual([[], []]);
    expect(await s.query("SET @x = 1")).toEqual([]);
  });

  it("does not obey what the server presets for sessions", async () => {
    const n1 = lab.node("n1");
    await n1.query(
      "SET GLOBAL sql_mode='NO_BACKSLASH_ESCAPES', GLOBAL autocommit=0, GLOBAL time_zone='+05:00', GLOBAL wait_timeout=2",
    );
    try {
      const s = await session();
      const [row] = await s.query("SELECT @@sql_mode m, @@autocommit a, @@time_zone t, @@wait_timeout w");
      expect(row).toEqual({ m: "NO_ENGINE_SUBSTITUTION", a: 1, t: "+00:00", w: 86_400 });
    } finally {
      await n1.query(
        "SET GLOBAL sql_mode=DEFAULT, GLOBAL autocommit=DEFAULT, GLOBAL time_zone=DEFAULT, GLOBAL wait_timeout=DEFAULT",
      );
    }
  });

  it("works with TLS and without, also for an account that the server has not cached yet", async () => {
    const cipher = async (s: Session) =>
      (await s.query<{ Value: string }>("SHOW SESSION STATUS LIKE 'Ssl_cipher'"))[0]!.Value;
    await lab.node("n1").query("FLUSH PRIVILEGES");
    expect(await cipher(await session())).toBe("");
    await lab.node("n1").query("FLUSH PRIVILEGES");
    expect(await cipher(await session({ tls: {} }))).not.toBe("");
  });

  it("reports the server's errors and lives on", async () => {
    const s = await session();
    expect(await faultOf(s.query("SELEKT"))).toMatchObject({
      outcome: "error",
      errno: 1064,
      sqlState: "42000",
    });
    expect(await s.query("SELECT 1 a")).toEqual([{ a: 1 }]);
  });

  it("is destroyed by a deadline, or kept when asked to", async () => {
    const kept = await session();
    expect(await faultOf(kept.query("SELECT SLEEP(0.3)", { deadlineMs: 50, keep: true }))).toMatchObject({
      outcome: "timeout-query",
    });
    expect(await kept.query("SELECT 5 a")).toEqual([{ a: 5 }]);

    const s = await session();
    const told = closing(s);
    const [first, second] = [
      faultOf(s.query("SELECT SLEEP(5)", { deadlineMs: 50 })),
      faultOf(s.query("SELECT 1")),
    ];
    expect(await first).toMatchObject({ outcome: "timeout-query" });
    expect(await second).toMatchObject({ outcome: "timeout-query" });
    expect(await told).toMatchObject({ outcome: "timeout-query" });
    expect(s.closed).toBe(true);
    expect(await faultOf(s.query("SELECT 1"))).toMatchObject({ outcome: "timeout-query" });
  });

  it.each([
    ["without TLS", undefined],
    ["with TLS", {}],
  ])("tells at once when an idle one is closed, %s", async (_, tls) => {
    const s = await session(tls ? { tls } : {});
    const other = await session();
    const told = closing(s);
    await other.query(`KILL ${s.threadId}`);
    expect(await told).toMatchObject({ outcome: "closed" });
    expect(s.closed).toBe(true);
    // Also to whoever asks later.
    expect(await closing(s)).toMatchObject({ outcome: "closed" });
  });

  it("rejects what waits when it closes, and says why the server did it", async () => {
    const s = await session();
    const other = await session();
    const waiting = faultOf(s.query("SELECT SLEEP(30)", { deadlineMs: 60_000 }));
    await expect
      .poll(
        async () =>
          (
            await other.query(
              `SELECT 1 FROM performance_schema.threads WHERE PROCESSLIST_ID = ${s.threadId} AND PROCESSLIST_STATE = 'User sleep'`,
            )
          ).length,
      )
      .toBe(1);
    await other.query(`KILL ${s.threadId}`);
    expect(["closed", "error"]).toContain((await waiting).outcome);
    const idle = await session();
    await idle.query("SET SESSION wait_timeout = 1");
    expect(await closing(idle)).toMatchObject({ outcome: "closed", errno: 4031 });
  });

  it("does not call back for an end that was asked for", async () => {
    const [a, b] = [await session(), await session()];
    let told = 0;
    for (const s of [a, b]) s.onClosed(() => told++);
    a.destroy();
    await b.end();
    expect([a.closed, b.closed, told]).toEqual([true, true, 0]);
  });

  it("answers pings while another session holds every lock", async () => {
    const [locker, s] = [await session(), await session()];
    await locker.query("FLUSH TABLES WITH READ LOCK");
    await s.ping(2_000);
    await locker.query("UNLOCK TABLES");
  });
});

describe("a connection that cannot be made", () => {
  it("refused, or refused by every address of a name", async () => {
    const free = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => free.once("listening", resolve));
    const { port } = free.address() as { port: number };
    await new Promise((resolve) => free.close(resolve));
    expect(await faultOf(session({ port }))).toMatchObject({ outcome: "refused", errno: null });
    expect(await faultOf(session({ host: "localhost", port }))).toMatchObject({ outcome: "refused" });
  });

  it("a name that nobody knows: an error that names it, and no word of death", async () => {
    const fault = await faultOf(session({ host: "no-such-host.invalid" }));
    expect(fault).toMatchObject({ outcome: "error", errno: null });
    expect(fault.message).toMatch(/^the name no-such-host\.invalid (cannot be|was not) resolved/);
  });

  it("a name that a resolver is still busy with: no word of death either", async () => {
    const hanging = vi.spyOn(addresses, "lookup").mockReturnValue(() => undefined);
    try {
      const fault = await faultOf(session({ host: "db1.invalid", ms: 50 }));
      expect(fault.outcome).toBe("error");
      expect(fault.message).toBe("the name db1.invalid was not resolved within 50 ms");
    } finally {
      hanging.mockRestore();
    }
  });

  it("wrong password, unknown account, expired password, locked account: auth", async () => {
    const n1 = lab.node("n1");
    expect(await faultOf(session({ password: "wrong" }))).toMatchObject({ outcome: "auth", errno: 1045 });
    expect(await faultOf(session({ user: "nobody" }))).toMatchObject({ outcome: "auth", errno: 1045 });
    await n1.query(
      "CREATE USER expired@'%' IDENTIFIED BY 'pw' PASSWORD EXPIRE; CREATE USER locked@'%' IDENTIFIED BY 'pw' ACCOUNT LOCK",
    );
    const expired = await faultOf(session({ user: "expired", password: "pw" }));
    expect(expired.outcome).toBe("auth");
    expect([1820, 1862]).toContain(expired.errno);
    expect(await faultOf(session({ user: "locked", password: "pw" }))).toMatchObject({
      outcome: "auth",
      errno: 3118,
    });
  });

  it("too many connections of one account, or a required TLS that is not used", async () => {
    const n1 = lab.node("n1");
    await n1.query(
      "CREATE USER few@'%' IDENTIFIED BY 'pw' WITH MAX_USER_CONNECTIONS 1; CREATE USER secure@'%' IDENTIFIED BY 'pw' REQUIRE SSL",
    );
    await session({ user: "few", password: "pw" });
    const few = await faultOf(session({ user: "few", password: "pw" }));
    expect(few.outcome).toBe("too-many-connections");
    expect([1203, 1226]).toContain(few.errno);
    // Without TLS the server says no more than "access denied".
    expect((await faultOf(session({ user: "secure", password: "pw" }))).outcome).toBe("auth");
    await n1.query("SET GLOBAL require_secure_transport = ON");
    try {
      expect(await faultOf(session())).toMatchObject({ outcome: "tls", errno: 3159 });
      await session({ tls: {} });
    } finally {
      await n1.query("SET GLOBAL require_secure_transport = OFF");
    }
  });

  it("a server that hangs: timeout-connect, and where it stuck", async () => {
    lab.node("n1").hang();
    try {
      const fault = await faultOf(session({ ms: 200 }));
      expect(fault).toMatchObject({ outcome: "timeout-connect" });
      expect(fault.message).toContain("connected, but no greeting");
    } finally {
      lab.node("n1").resume();
    }
  });
});

describe("a peer that is no proper server", () => {
  const servers: Server[] = [];
  afterEach(() => {
    for (const s of servers.splice(0)) s.close();
  });
  async function played(onConnect: (socket: Socket) => void): Promise<number> {
    const server = createServer(onConnect).listen(0, "127.0.0.1");
    servers.push(server);
    await new Promise((resolve) => server.once("listening", resolve));
    return (server.address() as { port: number }).port;
  }

  it("hangs up at once: closed, a reason to look again", async () => {
    const port = await played((socket) => socket.end());
    expect(await faultOf(session({ port, ms: 2_000 }))).toMatchObject({ outcome: "closed" });
  });

  it("resets: closed", async () => {
    const port = await played((socket) => socket.resetAndDestroy());
    expect(await faultOf(session({ port, ms: 2_000 }))).toMatchObject({ outcome: "closed" });
  });

  it("says nothing: timeout-connect, and its socket is let go", async () => {
    const gone = new Promise<void>((resolve) => {
      void played((socket) => {
        socket.on("error", () => undefined).on("close", () => resolve());
      }).then(async (port) => {
        expect(await faultOf(session({ port, ms: 100 }))).toMatchObject({ outcome: "timeout-connect" });
      });
    });
    await gone;
  });

  it("greets with error 1040 or 1053: named by it", async () => {
    const greet = (errno: number, text: string) => (socket: Socket) => {
      const body = Buffer.concat([Buffer.from([0xff, errno & 0xff, errno >> 8]), Buffer.from(text)]);
      socket.end(Buffer.concat([Buffer.from([body.length, 0, 0, 0]), body]));
    };
    const full = await played(greet(1040, "Too many connections"));
    expect(await faultOf(session({ port: full }))).toMatchObject({
      outcome: "too-many-connections",
      errno: 1040,
    });
    const ending = await played(greet(1053, "Server shutdown in progress"));
    expect(await faultOf(session({ port: ending }))).toMatchObject({ outcome: "shutting-down", errno: 1053 });
  });

  it("speaks no MySQL: an error, and no crash", async () => {
    const port = await played((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
    const fault = await faultOf(session({ port, ms: 1_000 }));
    expect(["error", "closed", "auth", "timeout-connect"]).toContain(fault.outcome);
  });
});

describe("classify", () => {
  it("believes in a refusal only if every address refused", () => {
    const e = (code: string) => Object.assign(new Error(code), { code });
    expect(classify(new AggregateError([e("ECONNREFUSED"), e("ECONNREFUSED")]), "connect").outcome).toBe(
      "refused",
    );
    expect(classify(new AggregateError([e("ECONNREFUSED"), e("ETIMEDOUT")]), "connect").outcome).toBe(
      "timeout-connect",
    );
    expect(classify(e("EHOSTUNREACH"), "connect").outcome).toBe("unreachable");
    expect(classify(e("ENOTFOUND"), "connect").outcome).toBe("error");
    expect(classify(e("EAI_AGAIN"), "connect").outcome).toBe("error");
    expect(classify(e("ETIMEDOUT"), "query").outcome).toBe("closed");
    expect(classify("odd", "query").outcome).toBe("error");
  });
});

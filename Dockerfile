# One image for the five services and the `baton` command. TypeScript is run by Node itself, so nothing is built: the
# first stage fetches what package-lock.json names, the second lays the source over it.
#   docker build -t baton:0.1.0 .
#   docker run baton:0.1.0 services/prober/main.ts --config /etc/baton/baton.yaml
FROM node:24-bookworm-slim AS packages
WORKDIR /app
# The workspaces' manifests alone, so that a change of source does not fetch the packages again.
COPY package.json package-lock.json ./
COPY libs/bus/package.json libs/bus/
COPY libs/contracts/package.json libs/contracts/
COPY libs/mysql/package.json libs/mysql/
COPY libs/protocol/package.json libs/protocol/
COPY libs/resilience/package.json libs/resilience/
COPY libs/runtime/package.json libs/runtime/
COPY services/auditor/package.json services/auditor/
COPY services/decider/package.json services/decider/
COPY services/executor/package.json services/executor/
COPY services/notifier/package.json services/notifier/
COPY services/prober/package.json services/prober/
COPY cli/package.json cli/
COPY lab/package.json lab/
COPY lab/simulation/package.json lab/simulation/
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM node:24-bookworm-slim
ENV NODE_ENV=production \
    BATON_CONFIG=/etc/baton/baton.yaml \
    # One service runs in a container, so it may have the same ports whichever it is.
    BATON_HTTP_HOST=0.0.0.0 BATON_HTTP_PORT=9470 \
    BATON_GRPC_HOST=0.0.0.0 BATON_GRPC_PORT=9480
WORKDIR /app
# Whole folders: node_modules/@baton/* are links to ../../libs/*, ../../services/* and so on, and stay links.
COPY --from=packages /app ./
COPY LICENSE ./
COPY libs libs
COPY services services
COPY lab lab
COPY cli cli
RUN printf '#!/bin/sh\nexec node /app/cli/main.ts "$@"\n' > /usr/local/bin/baton \
    && chmod 755 /usr/local/bin/baton \
    # The auditor's volume takes its owner from here.
    && install -d -o 1000 -g 1000 /var/lib/baton
# `node` of the base image, by number, so that an orchestrator can see that it is not root.
USER 1000:1000
# Whether the process turns, and not whether it is ready: while NATS is away every service waits, and restarting
# them all would help nobody. docker-compose.yml asks /readyz, because there it decides nothing but the picture.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.BATON_HTTP_PORT}/livez`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node"]
CMD ["cli/main.ts", "--help"]

#!/bin/bash
# Stand-ins for the three official images that docker-compose.yml and the Dockerfile name, for a Debian machine that
# reaches Debian's packages and npm's registry and no image registry: made of debootstrap, the machine's own npm and
# what `./baton toolchain` fetched. They do what the compose file needs of the official ones and nothing more: trying
# with them proves our files and services, not the official images. Usage, as root, with a Docker engine at hand:
#   deploy/compose/try/stand-ins.sh
set -euo pipefail

home=$(cd "$(dirname "$0")/../../.." && pwd)
node_image=node:24-bookworm-slim mysql_image=mysql:9.7 nats_image=nats:2.15-alpine
for image in "$node_image" "$mysql_image" "$nats_image"; do
  if docker image inspect "$image" >/dev/null 2>&1; then
    echo "stand-ins.sh: $image exists already and is left as it is" >&2
    exit 1
  fi
done
eval "$("$home/baton" toolchain)" # BATON_NODE, BATON_MYSQLD, BATON_NATS_SERVER
npm=$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")
servers=$(dirname "$(dirname "$BATON_MYSQLD")")
mirror=$(apt-get indextargets --format '$(REPO_URI)' | awk '/\/debian\/?$/ {print; exit}')

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! docker image inspect debian:bookworm-slim >/dev/null 2>&1; then
  debootstrap --variant=minbase --include=busybox-static bookworm "$work/base" "$mirror"
  rm -rf "$work"/base/var/cache/apt/archives/*.deb
  tar -C "$work/base" -c . | docker import -c 'CMD ["bash"]' - debian:bookworm-slim
  rm -rf "$work/base"
fi

image() { docker build --network none --tag "$1" "$work/context"; rm -rf "$work/context"; }

mkdir -p "$work/context"
cp -L "$BATON_NODE" "$work/context/node"
cp -a "$npm" "$work/context/npm"
# This machine's way to npm's registry.
cp /etc/ssl/certs/ca-certificates.crt "$work/context/ca.crt"
{ echo "registry=$(npm config get registry)"; echo "cafile=/etc/ssl/certs/ca-certificates.crt"; } >"$work/context/npmrc"
cat >"$work/context/Dockerfile" <<'END'
FROM debian:bookworm-slim
RUN groupadd --gid 1000 node && useradd --uid 1000 --gid node --shell /bin/bash --create-home node
COPY node /usr/local/bin/node
COPY npm /usr/local/lib/node_modules/npm
COPY ca.crt /etc/ssl/certs/ca-certificates.crt
COPY npmrc /root/.npmrc
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
CMD ["node"]
END
image "$node_image"

mkdir -p "$work/context/bin"
cp -a "$servers/root" "$work/context/root"
# The toolchain's programs start through a loader of their own, by absolute paths; and mysqld there reads no files.
for program in mysqld mysql mysqladmin nats-server; do
  sed -e "s#$servers#/opt/mysql#g" "$servers/bin/$program" >"$work/context/bin/$program"
done
sed -i 's/d=--no-defaults/d=--defaults-file=\/etc\/my.cnf/' "$work/context/bin/mysqld"
chmod 755 "$work"/context/bin/*
cat >"$work/context/my.cnf" <<'END'
[mysqld]
datadir=/var/lib/mysql
socket=/var/run/mysqld/mysqld.sock
[client]
socket=/var/run/mysqld/mysqld.sock
!includedir /etc/mysql/conf.d/
END
# The official entrypoint's part once a database exists: owner of the folders, then mysqld as mysql.
cat >"$work/context/docker-entrypoint.sh" <<'END'
#!/bin/bash
set -euo pipefail
[ -d /var/lib/mysql/mysql ] || { echo "this stand-in initialises no database" >&2; exit 1; }
find /var/lib/mysql /var/run/mysqld \! -user mysql -exec chown --no-dereference mysql '{}' +
exec setpriv --reuid=mysql --regid=mysql --init-groups "$@"
END
chmod 755 "$work/context/docker-entrypoint.sh"
cat >"$work/context/Dockerfile" <<'END'
FROM debian:bookworm-slim
RUN groupadd --system --gid 999 mysql \
    && useradd --system --uid 999 --gid 999 --home-dir /var/lib/mysql --no-create-home mysql
COPY root /opt/mysql/root
COPY bin/mysqld bin/mysql bin/mysqladmin /usr/local/bin/
COPY my.cnf /etc/my.cnf
COPY docker-entrypoint.sh /usr/local/bin/
RUN mkdir -p /etc/mysql/conf.d /var/lib/mysql /var/run/mysqld \
    && chown mysql:mysql /var/lib/mysql /var/run/mysqld && chmod 1777 /var/lib/mysql /var/run/mysqld \
    && ln -sf /etc/my.cnf /etc/mysql/my.cnf
VOLUME /var/lib/mysql
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["mysqld"]
END
mkdir -p "$work/nats/bin" "$work/nats/root"
cp "$work/context/bin/nats-server" "$work/nats/bin/"
(cd "$work/context/root" && cp -a --parents usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 \
  usr/lib/x86_64-linux-gnu/libc.so.6 usr/sbin/nats-server "$work/nats/root/")
image "$mysql_image"

mv "$work/nats" "$work/context"
cat >"$work/context/Dockerfile" <<'END'
FROM debian:bookworm-slim
COPY root /opt/mysql/root
COPY bin/nats-server /usr/local/bin/
RUN ln -s busybox /usr/bin/wget
CMD ["nats-server", "--config", "/etc/nats/nats-server.conf"]
END
image "$nats_image"
docker image ls --format '{{.Repository}}:{{.Tag}} {{.Size}}'

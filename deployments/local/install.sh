#!/bin/sh
# Installs the missing dependencies of the named parts from Debian packages, as root or
# with sudo. It names those that it cannot install.
set -eu

as_root=
if [ "$(id -u)" -ne 0 ]; then
	as_root="sudo -n"
fi
updated=

# need NAME CHECK PACKAGE...: installs the packages unless CHECK succeeds.
need() {
	name=$1 check=$2
	shift 2
	if sh -c "$check" >/dev/null 2>&1; then
		return
	fi
	if ! command -v apt-get >/dev/null || ! $as_root true 2>/dev/null; then
		echo "$name is missing, and only root can install it: install $* (Debian's names)" >&2
		exit 1
	fi
	echo "installing $name: $*"
	if [ -z "$updated" ]; then
		$as_root apt-get update -qq
		updated=yes
	fi
	DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# want NAME WITHOUT CHECK PACKAGE...: like need, but if installing fails, it prints the
# consequence WITHOUT the packages and succeeds.
want() {
	name=$1 without=$2
	shift 2
	(need "$name" "$@") || echo "continuing without $name: $without" >&2
}

policy=/usr/sbin/policy-rc.d

# unstarted COMMAND...: runs the command so that installed packages start no services. An
# existing policy belongs to the machine's owner, and is kept.
unstarted() {
	if [ -e "$policy" ] || ! command -v apt-get >/dev/null || ! $as_root true 2>/dev/null; then
		"$@"
		return
	fi
	trap '$as_root rm -f "$policy"' EXIT
	trap 'exit 130' INT TERM HUP
	printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
	$as_root chmod 755 "$policy"
	"$@"
	$as_root rm -f "$policy"
	trap - EXIT INT TERM HUP
}

for part in "$@"; do
	case $part in
	postgres)
		# By default the package creates and starts a cluster.
		if [ -n "$as_root" ] || [ "$(id -u)" -eq 0 ]; then
			if ! [ -e /etc/postgresql-common/createcluster.conf ] && command -v apt-get >/dev/null && ! ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; then
				$as_root mkdir -p /etc/postgresql-common
				echo 'create_main_cluster = false' | $as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
			fi
		fi
		need PostgreSQL 'ls /usr/lib/postgresql/*/bin/postgres || command -v postgres' postgresql
		;;
	chromium)
		need Chromium 'command -v chromium || command -v chromium-browser || command -v google-chrome' chromium fonts-noto-core fonts-noto-cjk
		;;
	ffmpeg)
		want FFmpeg 'recordings are published as they were uploaded' 'command -v ffmpeg && command -v ffprobe' ffmpeg
		;;
	rabbitmq)
		check='ls /usr/lib/rabbitmq/bin/rabbitmq-server || ls /opt/rabbitmq*/sbin/rabbitmq-server || command -v rabbitmq-server'
		if ! sh -c "$check" >/dev/null 2>&1; then
			# By default the packages start a node on 5672 and a port mapper on 4369, now
			# and whenever the machine boots.
			services=rabbitmq-server.service
			command -v epmd >/dev/null || services="$services epmd.service epmd.socket"
			unstarted need RabbitMQ "$check" rabbitmq-server
			if command -v systemctl >/dev/null; then
				# shellcheck disable=SC2086 # several names
				$as_root systemctl --quiet disable $services 2>/dev/null
			fi
			$as_root update-rc.d rabbitmq-server disable
		fi
		;;
	hosts) # for the drills: network namespaces and a settable clock
		need iproute2 'command -v ip' iproute2
		need psql 'command -v psql' postgresql-client
		need faketime 'ls /usr/lib/*/faketime/libfaketime.so.1' libfaketime
		;;
	shellcheck)
		want shellcheck 'shell scripts are not analysed' 'command -v shellcheck' shellcheck
		;;
	proxies) # for the attacks through a proxy; each package would start a service
		unstarted want nginx 'attacks through nginx are skipped' 'ls /usr/sbin/nginx || command -v nginx' nginx-light
		unstarted want HAProxy 'attacks through HAProxy are skipped' 'ls /usr/sbin/haproxy || command -v haproxy' haproxy
		;;
	debootstrap)
		need debootstrap 'command -v debootstrap' debootstrap
		;;
	*)
		echo "install: unknown part $part" >&2
		exit 2
		;;
	esac
done

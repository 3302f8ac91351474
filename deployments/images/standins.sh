#!/bin/sh
# Builds stand-ins for the public base images from Debian packages and this machine's Go
# toolchain, and prints the settings that make compose use them:
#   techtalks-standin/debian     for gcr.io/distroless/static-debian12
#   techtalks-standin/golang     for golang:1.26-bookworm, with the required modules
#   techtalks-standin/ffmpeg     for debian:bookworm-slim, with ffmpeg in it
#   techtalks-standin/postgres   for postgres:17-bookworm
#   techtalks-standin/rabbitmq   for rabbitmq:4.1, with the argument "rabbitmq"
# Messages go to standard error. Existing images are kept.
set -eu
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
suite=bookworm
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

# A change of the toolchain or of a module gives the image another tag.
toolchain=$(go env GOVERSION)
modules="data-tier logic-tier web-tier deployments"
sums=$(for module in $modules; do cat "$root/$module/go.sum"; done | sha256sum | cut -c1-12)
debian=techtalks-standin/debian:$suite
golang=techtalks-standin/golang:$toolchain-$sums
ffmpeg=techtalks-standin/ffmpeg:$suite
postgres=techtalks-standin/postgres:$suite
rabbitmq=
if [ "${1:-}" = rabbitmq ]; then
	rabbitmq=techtalks-standin/rabbitmq:$suite
fi

missing() { # IMAGE
	! docker image inspect "$1" >/dev/null 2>&1
}
wanted=
for image in $debian $golang $ffmpeg $postgres $rabbitmq; do
	! missing "$image" || wanted="$wanted $image"
done
if [ -n "$wanted" ]; then
	echo "building stand-in images:$wanted" >&2
	if [ "$(id -u)" -ne 0 ]; then
		echo "stand-in images need root for debootstrap and chroot: run this with sudo" >&2
		exit 1
	fi
	"$root/deployments/local/install.sh" debootstrap >&2
	work=$(mktemp -d)
	trap 'rm -rf "$work"' EXIT
	import() { # FOLDER IMAGE CHANGE...
		folder=$1 image=$2
		shift 2
		tar -C "$folder" -c --exclude='./var/cache/apt/archives/*.deb' --exclude='./var/lib/apt/lists/*' --exclude='./dev/*' . |
			docker import "$@" - "$image" >/dev/null
		echo "  $image" >&2
	}
	loud() { # prints the command's output if it fails
		"$@" >"$work/log" 2>&1 || { tail -20 "$work/log" >&2; exit 1; }
	}
	# Packages must not start services: a container has no init.
	loud debootstrap --variant=minbase --include=ca-certificates "$suite" "$work/root" "$mirror"
	printf '#!/bin/sh\nexit 101\n' >"$work/root/usr/sbin/policy-rc.d"
	chmod +x "$work/root/usr/sbin/policy-rc.d"
	if missing "$debian"; then
		import "$work/root" "$debian"
	fi

	if missing "$golang"; then
		mkdir -p "$work/golang/usr/local" "$work/golang/modules"
		cp -a "$(go env GOROOT)" "$work/golang/usr/local/go"
		# With the modules in the image, builds need no network.
		cache=$(go env GOMODCACHE)/cache/download
		for module in $modules; do
			(cd "$root/$module" && GOWORK=off GOFLAGS=-modcacherw GOMODCACHE="$work/modules" \
				GOPROXY="file://$cache,$(go env GOPROXY)" go mod download)
		done
		cp -a "$work/modules/cache/download/." "$work/golang/modules/"
		cp -a "$work/root/." "$work/golang/"
		import "$work/golang" "$golang" \
			--change 'ENV PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
			--change 'ENV GOPROXY=file:///modules GOSUMDB=off GOTOOLCHAIN=local'
		rm -rf "$work/golang"
	fi

	install() { # FOLDER PACKAGE
		cp /etc/resolv.conf "$1/etc/resolv.conf"
		loud chroot "$1" apt-get update
		loud chroot "$1" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$2"
	}
	user() { # FOLDER NAME HOME: with the user id of the public image
		loud chroot "$1" groupadd --system --gid 999 "$2"
		loud chroot "$1" useradd --system --gid "$2" --uid 999 --home-dir "$3" "$2"
	}
	path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
	if missing "$ffmpeg"; then
		cp -a "$work/root" "$work/ffmpeg"
		install "$work/ffmpeg" ffmpeg
		import "$work/ffmpeg" "$ffmpeg" --change "ENV PATH=$path"
		rm -rf "$work/ffmpeg"
	fi
	if missing "$postgres"; then
		cp -a "$work/root" "$work/postgres"
		user "$work/postgres" postgres /var/lib/postgresql
		mkdir -p "$work/postgres/etc/postgresql-common"
		echo 'create_main_cluster = false' >"$work/postgres/etc/postgresql-common/createcluster.conf"
		install "$work/postgres" postgresql
		import "$work/postgres" "$postgres" --change "ENV PATH=$path"
		rm -rf "$work/postgres"
	fi
	if [ -n "$rabbitmq" ] && missing "$rabbitmq"; then
		user "$work/root" rabbitmq /var/lib/rabbitmq
		install "$work/root" rabbitmq-server
		# Before the Debian package's own command on the path, which changes users and
		# hides the node's output.
		import "$work/root" "$rabbitmq" --change "ENV PATH=/usr/lib/rabbitmq/bin:$path"
	fi
fi
echo "BUILD_IMAGE=$golang"
echo "RUN_IMAGE=$debian"
echo "MEDIA_IMAGE=$ffmpeg"
echo "POSTGRES_IMAGE=$postgres"
if [ -n "$rabbitmq" ]; then
	echo "RABBITMQ_IMAGE=$rabbitmq"
fi

#!/bin/sh
# Builds stand-ins for the public base images, from Debian's packages and the Go
# toolchain of this machine, and prints the settings that make compose use them:
#   techtalks-standin/debian     for gcr.io/distroless/static-debian12
#   techtalks-standin/golang     for golang:1.26-bookworm, with the modules we use
#   techtalks-standin/ffmpeg     for debian:bookworm-slim, with ffmpeg in it
#   techtalks-standin/postgres   for postgres:17-bookworm
# Messages go to standard error. What is there already stays.
set -eu
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
suite=bookworm
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

# A change of the toolchain or of a module makes another image.
toolchain=$(go env GOVERSION)
modules="data-tier logic-tier web-tier deployments"
sums=$(for module in $modules; do cat "$root/$module/go.sum"; done | sha256sum | cut -c1-12)
debian=techtalks-standin/debian:$suite
golang=techtalks-standin/golang:$toolchain-$sums
ffmpeg=techtalks-standin/ffmpeg:$suite
postgres=techtalks-standin/postgres:$suite

missing=
for image in $debian $golang $ffmpeg $postgres; do
	docker image inspect "$image" >/dev/null 2>&1 || missing="$missing $image"
done
if [ -n "$missing" ]; then
	echo "building stand-in images:$missing" >&2
	if [ "$(id -u)" -ne 0 ]; then
		echo "stand-in images need root, for debootstrap and chroot: run it by sudo" >&2
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
	loud() { # what it printed, when it fails
		"$@" >"$work/log" 2>&1 || { tail -20 "$work/log" >&2; exit 1; }
	}
	# A container has no init: services must not be started.
	loud debootstrap --variant=minbase --include=ca-certificates "$suite" "$work/root" "$mirror"
	printf '#!/bin/sh\nexit 101\n' >"$work/root/usr/sbin/policy-rc.d"
	chmod +x "$work/root/usr/sbin/policy-rc.d"
	import "$work/root" "$debian"

	if ! docker image inspect "$golang" >/dev/null 2>&1; then
		mkdir -p "$work/golang/usr/local" "$work/golang/modules"
		cp -a "$(go env GOROOT)" "$work/golang/usr/local/go"
		# The modules come along: a build then needs no network.
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
	path='ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
	cp -a "$work/root" "$work/ffmpeg"
	install "$work/ffmpeg" ffmpeg
	import "$work/ffmpeg" "$ffmpeg" --change "$path"
	rm -rf "$work/ffmpeg"

	# The user of the public image has the number 999.
	loud chroot "$work/root" groupadd --system --gid 999 postgres
	loud chroot "$work/root" useradd --system --gid postgres --uid 999 --home-dir /var/lib/postgresql postgres
	mkdir -p "$work/root/etc/postgresql-common"
	echo 'create_main_cluster = false' >"$work/root/etc/postgresql-common/createcluster.conf"
	install "$work/root" postgresql
	import "$work/root" "$postgres" --change "$path"
fi
echo "BUILD_IMAGE=$golang"
echo "RUN_IMAGE=$debian"
echo "MEDIA_IMAGE=$ffmpeg"
echo "POSTGRES_IMAGE=$postgres"

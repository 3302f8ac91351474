#!/bin/sh
# Runs docker compose with the given arguments. If the compose plugin is missing, it is
# built from its Go module; if no image registry answers, stand-ins for the base images
# are built.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
run=${RUN_DIR:-$root/.run}

if ! command -v docker >/dev/null; then
	echo "docker is missing: install Docker Engine (Debian: apt-get install docker.io)" >&2
	exit 1
fi
if ! docker version >/dev/null 2>&1; then
	echo "no Docker engine answers: start it, or check your permission to use it (docker version)" >&2
	exit 1
fi

compose="docker compose"
if ! docker compose version >/dev/null 2>&1; then
	compose=$run/bin/docker-compose
	if ! [ -x "$compose" ]; then
		echo "the compose plugin is missing: building it from its Go module (some minutes)" >&2
		mkdir -p "$run/bin"
		(cd "$here/tools" && GOWORK=off go build -mod=readonly -buildvcs=false -trimpath -ldflags=-s -o "$compose" github.com/docker/compose/v2/cmd)
	fi
fi

# The image of RabbitMQ takes minutes, so it is needed only with the profile.
images="gcr.io/distroless/static-debian12 debian:bookworm-slim postgres:17-bookworm golang:1.26-bookworm"
profile=
case " $* --profile ${COMPOSE_PROFILES:-} " in
*" --profile rabbitmq "* | *" --profile=rabbitmq "*)
	profile=rabbitmq
	images="$images rabbitmq:4.1"
	;;
esac

# Base images that are set explicitly are assumed to exist.
if [ -z "${BUILD_IMAGE:-}${RUN_IMAGE:-}${MEDIA_IMAGE:-}${POSTGRES_IMAGE:-}${RABBITMQ_IMAGE:-}" ]; then
	for image in $images; do
		docker image inspect "$image" >/dev/null 2>&1 && continue
		if ! timeout 300 docker pull -q "$image" >/dev/null 2>&1; then
			echo "$image cannot be pulled: using stand-ins" >&2
			settings=$("$here/standins.sh" $profile)
			# shellcheck disable=SC2086,SC2163 # several NAME=value
			export $settings
			break
		fi
	done
fi
exec $compose --project-directory "$root" "$@"

#!/usr/bin/env bash
# Runs the checks of "make test" (run.sh test) or of "make verify" (run.sh verify): every
# step runs, whatever failed before it. A step prints one line, or one line for each
# Go package; logs appear for failures only. The summary at the end names each failure and
# the command that runs it alone.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
export GOWORK=off

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
passed=0
failures=()
besides=()

# gotestsum prints a line for each package and the output of failed tests.
build_runner() {
	(cd deployments/checks/tools && go build -o "$out/gotestsum" gotest.tools/gotestsum)
}

# step NAME COMMAND...: runs a command in the source tree and reports how it ended.
step() {
	local name=$1 began=$SECONDS
	shift
	"$@" >"$out/log" 2>&1
	report $? "$out/log" $((SECONDS - began)) "$name" "$@"
}

# beside NAME COMMAND...: starts a step that runs beside those that follow, at a lower
# priority, and is reported by await_beside.
beside() {
	local log=$out/beside.${#besides[@]}
	besides+=("$log"$'\t'"$1"$'\t'"${*:2}")
	(
		began=$SECONDS
		nice "${@:2}" >"$log" 2>&1
		echo $? $((SECONDS - began)) >"$log.end"
	) &
}

await_beside() {
	local one log name command status took
	wait
	for one in "${besides[@]}"; do
		IFS=$'\t' read -r log name command <<<"$one"
		read -r status took <"$log.end"
		report "$status" "$log" "$took" "$name" "$command"
	done
}

# report STATUS LOG SECONDS NAME COMMAND...: prints a step's log when the step failed, or
# the reason when its status is 77: skipped, as in automake's tests.
report() {
	local status=$1 log=$2 took=$3 name=$4
	case $status in
	0) printf '✓  %s (%ds)\n' "$name" "$took" ;;
	77) printf '∅  %s: skipped: %s\n' "$name" "$(tail -n 1 "$log")" && return ;;
	*)
		printf '✖  %s (%ds)\n' "$name" "$took"
		sed 's/^/   /' "$log"
		failures+=("$name: ${*:5}")
		return
		;;
	esac
	passed=$((passed + 1))
}

# tests MODULE [FLAG...] [PACKAGE...]: runs a module's tests and notes which failed.
tests() {
	local module=$1 json=$out/json flags=() packages=() argument
	shift
	for argument; do
		case $argument in
		-*) flags+=("$argument") ;;
		*) packages+=("$argument") ;;
		esac
	done
	echo "── $module"
	(cd "$module" && "$out/gotestsum" --format pkgname --format-hide-empty-pkg "--hide-summary=$hide" --jsonfile "$json" \
		-- -count=1 "${flags[@]}" "${packages[@]-./...}") || note_failures "$module" "$json" "go test -count=1 ${flags[*]}"
	passed=$((passed + $(grep -c '"Action":"pass",.*"Test":"[^"/]*"' "$json")))
}

# note_failures MODULE JSON COMMAND: adds a command for each top-level test that failed, and
# for each package that failed by itself (it does not compile, or its TestMain failed).
note_failures() {
	local run="cd $1 && GOWORK=off $3" json=$2 package test before=${#failures[@]}
	while IFS=$'\t' read -r package test; do
		failures+=("$run -run '^$test\$' $package")
	done < <(sed -nE 's/.*"Action":"fail","Package":"([^"]*)","Test":"([^"/]*)".*/\1\t\2/p' "$json" | sort -u)
	while read -r package; do
		grep -qF "\"Action\":\"fail\",\"Package\":\"$package\",\"Test\"" "$json" ||
			failures+=("$run $package")
	done < <(sed -nE 's/.*"Action":"fail","Package":"([^"]*)","Elapsed".*/\1/p' "$json" | sort -u)
	if [ ${#failures[@]} -eq "$before" ]; then
		failures+=("$run ./...")
	fi
}

summary() {
	echo
	if [ ${#failures[@]} -gt 0 ]; then
		echo "Failed; run one alone with its command:"
		printf '  %s\n' "${failures[@]}"
	fi
	printf 'It took %d min %d s.\n' $((SECONDS / 60)) $((SECONDS % 60))
	echo "$passed passed, ${#failures[@]} failed"
	[ ${#failures[@]} -eq 0 ]
}

build_runner || exit
hide=
if [ "${1:-}" = test ]; then
	# shellcheck source=deployments/checks/test.sh
	. deployments/checks/test.sh
elif [ "${1:-}" = verify ]; then
	# shellcheck source=deployments/checks/verify.sh
	. deployments/checks/verify.sh
else
	echo "usage: run.sh test|verify" >&2
	exit 2
fi
summary

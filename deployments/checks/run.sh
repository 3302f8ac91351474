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

# gotestsum prints a line for each package and the output of failed tests.
build_runner() {
	(cd deployments/checks/tools && go build -o "$out/gotestsum" gotest.tools/gotestsum)
}

# step NAME COMMAND...: runs a command in the source tree and prints its output when it
# fails, or the reason when it exits with 77: skipped, as in automake's tests.
step() {
	local name=$1 began=$SECONDS status
	shift
	"$@" >"$out/log" 2>&1
	status=$?
	case $status in
	0) printf '✓  %s (%ds)\n' "$name" $((SECONDS - began)) ;;
	77) printf '∅  %s: skipped: %s\n' "$name" "$(tail -n 1 "$out/log")" && return ;;
	*)
		printf '✖  %s (%ds)\n' "$name" $((SECONDS - began))
		sed 's/^/   /' "$out/log"
		failures+=("$name: $*")
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

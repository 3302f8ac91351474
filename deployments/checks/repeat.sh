#!/usr/bin/env bash
# Looks for flaky tests: runs "make test" TIMES times (20) while "make up" runs and two busy
# loops keep the processors occupied. Prints a line for each run; the logs of runs that
# failed are kept in REPEAT_LOGS.
#
#	deployments/checks/repeat.sh [TIMES]
set -uo pipefail
cd "$(dirname "$0")/../.." || exit
times=${1:-20}
logs=${REPEAT_LOGS:-$(mktemp -d)}
site=$(mktemp -d)
chmod 755 "$site" # Postgres does not run as root
mkdir -p "$logs"

background=()
stop() {
	kill "${background[@]}" 2>/dev/null
	wait
	rm -rf "$site"
}
trap stop EXIT
trap 'exit 130' INT TERM

RUN_DIR=$site make --no-print-directory up >"$logs/up.log" 2>&1 &
background+=($!)
until grep -qs "^TechTalks is up" "$logs/up.log"; do
	if ! kill -0 "${background[0]}" 2>/dev/null; then
		cat "$logs/up.log"
		exit 1
	fi
	sleep 1
done
for _ in 1 2; do
	(while :; do :; done) &
	background+=($!)
done

failed=0
for ((run = 1; run <= times; run++)); do
	began=$SECONDS
	if make --no-print-directory test >"$logs/run-$run.log" 2>&1; then
		result=passed
		rm "$logs/run-$run.log"
	else
		result="FAILED, see $logs/run-$run.log"
		failed=$((failed + 1))
	fi
	printf 'run %d of %d: %s (%d min %d s)\n' "$run" "$times" "$result" $(((SECONDS - began) / 60)) $(((SECONDS - began) % 60))
done
echo "$((times - failed)) of $times runs passed"
[ "$failed" -eq 0 ]

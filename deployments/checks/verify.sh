# The checks of "make verify": what takes longer than a developer waits. Tests of programs
# in this process run with the race detector; the others start programs that are built
# without it.
# shellcheck shell=bash
for module in proto data-tier web-tier logic-tier; do
	tests $module -race -timeout=20m
done
tests deployments/kubernetes -timeout=20m
mapfile -t packages < <(cd deployments && go list ./... | grep -vE '/(drills|abuse)$')
tests deployments -timeout=40m "${packages[@]}"
# By themselves: a starved host looks like a lost one, and two attacks like a worse one.
tests deployments -timeout=40m ./drills
tests deployments -timeout=30m -parallel=1 ./abuse
tests deployments/bench -timeout=20m

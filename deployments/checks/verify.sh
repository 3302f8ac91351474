# The checks of "make verify": what takes longer than a developer waits. What runs in the
# tests' own process runs with the race detector; browsers and programs do not.
# shellcheck shell=bash
# What takes long on RabbitMQ is waiting for it.
beside "tests of the queue on RabbitMQ" sh -c 'cd logic-tier && go test -count=1 -timeout=20m ./platform/queue/rabbitqueue/...'
tests proto -race -timeout=10m
mapfile -t packages < <(cd logic-tier && go list ./... | grep -vE '/(media|transfers|talks|following)$')
tests logic-tier -race -short -timeout=20m "${packages[@]}"
mapfile -t packages < <(cd web-tier && go list ./... | grep -v /pages)
tests web-tier -race -timeout=10m "${packages[@]}"
tests data-tier -timeout=20m # builds the data tier itself with the race detector
tests deployments/kubernetes -timeout=20m
mapfile -t packages < <(cd deployments && go list ./... | grep -vE '/(drills|abuse)$')
tests deployments -timeout=60m "${packages[@]}"
await_beside
# By themselves: a starved host looks like a lost one, and two attacks like a worse one.
tests deployments -timeout=40m ./drills
tests deployments -timeout=30m -parallel=1 ./abuse
tests deployments/bench -timeout=20m

# TechTalks: what people run, and what CI runs.
.DEFAULT_GOAL := help
.PHONY: help up test generate bench drill soak compose clean

# Those that an editor opens (go.work), and those that tests alone need.
WORKSPACE := proto data-tier logic-tier web-tier deployments deployments/bench
MODULES := $(WORKSPACE) deployments/kubernetes
export GOWORK := off

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: ## run the three tiers on this machine, until Ctrl-C (BROKER=rabbitmq: with RabbitMQ)
	@deployments/local/install.sh postgres ffmpeg $(filter rabbitmq,$(BROKER))
	@cd deployments && go build -o "$${RUN_DIR:-$(CURDIR)/.run}/bin/local" ./local
	@exec "$${RUN_DIR:-$(CURDIR)/.run}/bin/local"

test: ## install what tests need, check what is generated, run every test
	@deployments/local/install.sh postgres chromium ffmpeg rabbitmq hosts
	@$(MAKE) --no-print-directory stale
	@for module in $(MODULES); do echo "== $$module"; (cd $$module && go vet ./... && go test -race -count=1 -timeout 40m $$(go list ./... | grep -v /drills$$)) || exit 1; done
	@echo "== drills"; cd deployments && go test -race -count=1 -timeout 40m ./drills # alone: a host that is starved looks like one that is away

.PHONY: stale
stale:
	@proto/generate.sh --check
	@web-tier/generate.sh --check
	@GOWORK="$(CURDIR)/go.work" go list -deps $(WORKSPACE:%=./%/...) > /dev/null # as an editor opens it

generate: ## make the generated code anew: contracts and pages
	@proto/generate.sh
	@web-tier/generate.sh

bench: ## measure, side by side, and print tables
	@deployments/local/install.sh postgres rabbitmq
	@cd deployments/bench && go run .

drill: ## break things, and see whether what was promised is kept (NAME=logic-tier-killed: one of them)
	@deployments/local/install.sh postgres rabbitmq hosts
	@cd deployments/drills && go run ./run -results RESULTS.md $(if $(NAME),-only $(NAME))

soak: ## each drill 20 times, two at a time: how soon it is well again, and that nothing is lost
	@deployments/local/install.sh postgres rabbitmq hosts
	@cd deployments/drills && go run ./run -times $(or $(TIMES),20) -together 2 -results RESULTS.md $(if $(NAME),-only $(NAME))

compose: ## run the three tiers in containers, with stand-in images where no registry answers
	@deployments/images/compose.sh $(if $(filter rabbitmq,$(BROKER)),--profile rabbitmq) up --build

clean: ## remove what "make up" made: the data too
	@rm -rf "$${RUN_DIR:-$(CURDIR)/.run}"

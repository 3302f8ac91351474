# TechTalks: the commands for developers and CI.
.DEFAULT_GOAL := help
.PHONY: help up test verify generate bench drill soak compose clean

export GOWORK := off
# Builds must not depend on the developer's settings: this tree vendors nothing, and git
# refuses to describe a checkout that another user owns. The last of repeated flags wins.
export GOFLAGS := $(shell go env GOFLAGS 2>/dev/null) -mod=readonly -buildvcs=false

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: ## run the three tiers on this machine, until Ctrl-C (BROKER=rabbitmq: with RabbitMQ)
	@deployments/local/install.sh postgres ffmpeg $(filter rabbitmq,$(BROKER))
	@cd deployments && go build -o "$${RUN_DIR:-$(CURDIR)/.run}/bin/local" ./local
	@exec "$${RUN_DIR:-$(CURDIR)/.run}/bin/local"

test: ## run the fast checks and tests, within minutes
	@deployments/local/install.sh postgres chromium ffmpeg rabbitmq shellcheck
	@deployments/checks/run.sh test

verify: ## run all other checks: races, drills, containers, attacks, Kubernetes, the benchmark
	@deployments/local/install.sh postgres chromium ffmpeg rabbitmq hosts proxies
	@deployments/checks/run.sh verify

generate: ## regenerate code and the list of settings after changing a .proto or .templ file or a flag
	@proto/generate.sh
	@web-tier/generate.sh
	@cd deployments && go run ./settings >SETTINGS.md.new && mv SETTINGS.md.new SETTINGS.md

bench: ## measure TechTalks and its alternatives side by side
	@deployments/local/install.sh postgres rabbitmq
	@cd deployments/bench && go run .

drill: ## inject failures and check the guarantees (NAME=logic-tier-killed: one drill)
	@deployments/local/install.sh postgres rabbitmq hosts
	@cd deployments/drills && go run ./run -results RESULTS.md $(if $(NAME),-only $(NAME))

soak: ## run each drill 20 times and report recovery times
	@deployments/local/install.sh postgres rabbitmq hosts
	@cd deployments/drills && go run ./run -times $(or $(TIMES),20) -together 2 -results RESULTS.md $(if $(NAME),-only $(NAME))

compose: ## run the three tiers in containers, with stand-in images where no registry answers
	@deployments/images/compose.sh $(if $(filter rabbitmq,$(BROKER)),--profile rabbitmq) up --build

clean: ## remove everything that "make up" created, data included
	@rm -rf "$${RUN_DIR:-$(CURDIR)/.run}"

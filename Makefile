# Needs Go, Rust, Python 3.11 or newer, and make. Everything else is built or fetched, once per machine: see e2e/README.md.

STACK := e2e/stack
CARGO := cargo

.DEFAULT_GOAL := help
.PHONY: help tools up down test faults lint crds admission krew demo bench clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools: ## Build etcd, kube-apiserver, kubectl, helm and the emulator's environment (first time: about 8 minutes)
	@$(STACK) tools

up: ## Start the local stack: a Kubernetes API server and an AWS endpoint
	@$(STACK) up

down: ## Stop the local stack and remove its state
	@$(STACK) down

test: ## Build everything and run every check and test, with a closing summary
	@e2e/check

faults: ## The fault campaign alone: every request of the operator, with one fault each
	@FAULTS=campaign $(STACK) run -- $(CARGO) test --locked --test integration faults -- --nocapture

lint: ## Formatting, clippy, and the pure half of the crate on its own
	@e2e/check lint

crds: ## Write the CRDs that the binary generates, for the project and for the chart
	@mkdir -p crds charts/securebucket/files/crds
	@$(CARGO) run --quiet --locked -- crds > crds/.new
	@mv crds/.new crds/securebucket.io.yaml
	@cp crds/securebucket.io.yaml charts/securebucket/files/crds/

admission: ## Write the admission policies that the binary prints, for the chart
	@mkdir -p charts/securebucket/files/admission
	@$(CARGO) run --quiet --locked -- admission > charts/securebucket/files/.admission
	@mv charts/securebucket/files/.admission charts/securebucket/files/admission/securebucket.io.yaml

krew: ## Build kubectl-securebucket, and pack it with its manifest for Krew
	@$(CARGO) build --quiet --locked --release --no-default-features --features plugin --bin kubectl-securebucket
	@krew/pack --binary target/release/kubectl-securebucket --out target/krew

demo: ## The whole story on this machine: refused, granted, refused again with the operator dead
	@e2e/demo

bench: ## AWS calls, times, lateness of ends and memory, beside the goals (about 8 minutes)
	@e2e/bench

clean: down ## Stop the stack and remove what was built here; the tools of this machine stay
	@$(CARGO) clean

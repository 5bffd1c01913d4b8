# The five things that one does here. CI does more: see .ci/run.
golangci := $(shell sed -n 's/^readonly golangci=//p' .ci/run)

.PHONY: run test lint generate bench

run: ## everything in one process, with a sample: http://127.0.0.1:8080
	go run ./cmd/tally up --sample

test: ## all tests; they start the PostgreSQL that they need
	go test ./...

lint: ## format, lint and the import rule
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(golangci) fmt --diff
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(golangci) run

generate: ## the OpenAPI documents from the code
	go generate ./...

bench: ## every benchmark once; docs/performance.md says how to measure
	go test -run '^$$' -bench . -benchtime 1x ./...

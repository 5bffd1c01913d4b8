# Common development tasks. CI runs more checks: see .ci/run.
golangci := $(shell sed -n 's/^readonly golangci=//p' .ci/run)

.PHONY: run test lint generate bench

run: ## all services in one process, with sample data: http://127.0.0.1:8080
	go run ./cmd/tally up --sample

test: ## all tests, which start their own PostgreSQL
	go test ./...

lint: ## formatting, lint and the import rule
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(golangci) fmt --diff
	go run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(golangci) run
	.ci/words

generate: ## generate the OpenAPI documents from the code
	go generate ./...

bench: ## run every benchmark once; see docs/performance.md for measurements
	go test -run '^$$' -bench . -benchtime 1x ./...

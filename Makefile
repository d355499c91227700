# The two commands: `make run` and `make test`. Both work on a fresh Debian
# machine with Go, a C compiler, Python 3.11 and root.
.PHONY: build run test check race fuzz bench bench-import bench-fidelity pictures deps clean

build: bin/pipeline

bin/pipeline: FORCE
	go build -trimpath -o bin/pipeline ./cmd/pipeline

FORCE:

# Builds, then runs the seed campaign on the embedded default endpoint.
run: build
	bin/pipeline run specs/glm-fp8.yaml

# Fetches what the tests need, then runs all of them, one package at a time:
# tests that measure must not be measured against each other.
test: deps check race
	go test -p 1 -timeout 25m ./...

# Formatting, vet, and the race detector on what is concurrent.
check:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on the files above'; exit 1; }
	go build ./...
	go vet ./...

race:
	go test -race -p 1 -timeout 25m ./engine/... ./internal/aiperf ./internal/loadgen ./internal/tool ./internal/vllmsim ./steps/serve ./lake/...
	go test -race -short -timeout 25m ./steps/cellrun # its long tests are about time, of which the detector takes too much

deps:
	tools/deps.sh

# Thirty seconds of each fuzz target.
fuzz:
	tools/fuzz.sh 30s

# Speed, beside a peer in the same run. docs/benchmarks.md says what is measured.
bench: build
	tools/deps.sh bench
	tools/bench.sh

# Reading a million records of AIPerf, beside DuckDB and pandas; 5 GB of disk.
bench-import:
	tools/bench.sh import

# native, AIPerf and guidellm against a server that knows when it wrote each token.
bench-fidelity:
	tools/bench.sh fidelity

# The pictures of the README, from a real run.
pictures: build
	tools/deps.sh bench
	tools/pictures.sh

clean:
	rm -rf bin

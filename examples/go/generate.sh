#!/bin/sh
# Makes the Go packages from the protocol files, into ./penstockv1. Needs a protobuf compiler: `protoc` if there is one,
# else the one that comes with Python's grpcio-tools (PYTHON=../../.venv/bin/python).
set -eu
cd "$(dirname "$0")"
protos=../../proto
package=penstock.example/chat/penstockv1

bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
GOBIN=$bin go install google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc

set --
for file in "$protos"/penstock/v1/*.proto; do
  name=${file#"$protos"/}
  set -- "$@" "--go_opt=M$name=$package" "--go-grpc_opt=M$name=$package" "$name"
done
if command -v protoc >/dev/null; then compiler=protoc; else compiler="${PYTHON:-python3} -m grpc_tools.protoc"; fi
PATH="$bin:$PATH" $compiler -I"$protos" \
  --go_out=. --go_opt=module=penstock.example/chat \
  --go-grpc_out=. --go-grpc_opt=module=penstock.example/chat "$@"

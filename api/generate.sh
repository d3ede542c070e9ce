#!/bin/sh
# Generates the Go code of the control API from the .proto files beside it, into the tree or below the directory given.
set -eu
cd "$(dirname "$0")/.."
out=${1:-.}
module=github.com/snakepit-go/snakepit
protoc -I api \
  --plugin=protoc-gen-go="$(go tool -n protoc-gen-go)" \
  --plugin=protoc-gen-connect-go="$(go tool -n protoc-gen-connect-go)" \
  --go_out="$out" --go_opt=module=$module \
  --connect-go_out="$out" --connect-go_opt=module=$module \
  api/snakepit/v1/*.proto

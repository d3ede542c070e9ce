#!/bin/sh
# Generates the Go code of the control API from the .proto files beside it.
set -eu
cd "$(dirname "$0")/.."
module=github.com/snakepit-go/snakepit
protoc -I api \
  --plugin=protoc-gen-go="$(go tool -n protoc-gen-go)" \
  --plugin=protoc-gen-connect-go="$(go tool -n protoc-gen-connect-go)" \
  --go_out=. --go_opt=module=$module \
  --connect-go_out=. --connect-go_opt=module=$module \
  api/snakepit/v1/*.proto

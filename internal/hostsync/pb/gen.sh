#!/bin/sh
# Writes hostsync.pb.go and hostsync_grpc.pb.go with the plugins that go.mod pins.
# SPDX-License-Identifier: Apache-2.0
set -eu
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
go build -o "$bin" google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
PATH=$bin:$PATH protoc --go_out=. --go_opt=paths=source_relative \
	--go-grpc_out=. --go-grpc_opt=paths=source_relative hostsync.proto
# The version of protoc itself says nothing about the result.
sed -i -E 's|^(// .*protoc +)\(?v?[0-9.]+\)?$|\1(any)|' hostsync.pb.go hostsync_grpc.pb.go
gofmt -w hostsync.pb.go hostsync_grpc.pb.go

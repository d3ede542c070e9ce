package server_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/snakepit-go/snakepit"
	"github.com/snakepit-go/snakepit/server"
)

// TestGRPCTools uses reflection and the health service as grpcurl and probes
// do, through gRPC's own client.
func TestGRPCTools(t *testing.T) {
	var ready atomic.Bool
	r := serve(t, func(_ *snakepit.Config, opts *server.Options) {
		opts.Ready = func(context.Context) bool { return ready.Load() }
	})
	conn, err := grpc.NewClient(strings.TrimPrefix(r.url, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	probe := healthv1.NewHealthClient(conn)
	for _, want := range []healthv1.HealthCheckResponse_ServingStatus{healthv1.HealthCheckResponse_NOT_SERVING, healthv1.HealthCheckResponse_SERVING} {
		ready.Store(want == healthv1.HealthCheckResponse_SERVING)
		for _, service := range []string{"", "snakepit.v1.ExecutionService"} {
			res, err := probe.Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
			if err != nil || res.Status != want {
				t.Errorf("health of %q is %v (%v), want %v", service, res, err, want)
			}
		}
	}
	if _, err := probe.Check(t.Context(), &healthv1.HealthCheckRequest{Service: "nosuch"}); err == nil {
		t.Error("a service that is missing has a health")
	}

	info, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ask := func(req *reflectionv1.ServerReflectionRequest) *reflectionv1.ServerReflectionResponse {
		t.Helper()
		if err := info.Send(req); err != nil {
			t.Fatal(err)
		}
		res, err := info.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	listed := ask(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}).String()
	for _, name := range []string{"snakepit.v1.ExecutionService", "snakepit.v1.SessionService", "snakepit.v1.PoolService", "grpc.health.v1.Health"} {
		if !strings.Contains(listed, name) {
			t.Errorf("%s is not listed in %s", name, listed)
		}
	}
	files := ask(&reflectionv1.ServerReflectionRequest{
		MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "snakepit.v1.ExecutionService"},
	}).GetFileDescriptorResponse().GetFileDescriptorProto()
	file := new(descriptorpb.FileDescriptorProto)
	if len(files) == 0 || proto.Unmarshal(files[0], file) != nil || file.GetPackage() != "snakepit.v1" {
		t.Errorf("the description of the service is %v", file)
	}
	if err := info.CloseSend(); err != nil {
		t.Error(err)
	}
}

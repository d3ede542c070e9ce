package server

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/grpcreflect"

	"github.com/snakepit-go/snakepit/api/snakepit/v1/snakepitv1connect"
)

// serviceNames are the services of the API.
var serviceNames = []string{
	snakepitv1connect.ExecutionServiceName, snakepitv1connect.SessionServiceName, snakepitv1connect.PoolServiceName,
}

// handleReflection adds the services by which gRPC tools find out what there is.
func handleReflection(mux *http.ServeMux, options ...connect.HandlerOption) {
	reflector := grpcreflect.NewStaticReflector(append([]string{grpchealth.HealthV1ServiceName}, serviceNames...)...)
	mux.Handle(grpcreflect.NewHandlerV1(reflector, options...))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector, options...))
}

// readiness answers gRPC's health service, whose probes ask for one service or
// for all by an empty name.
type readiness func(context.Context) bool

// Check implements grpchealth.Checker.
func (ready readiness) Check(ctx context.Context, req *grpchealth.CheckRequest) (*grpchealth.CheckResponse, error) {
	switch {
	case req.Service != "" && !slices.Contains(serviceNames, req.Service):
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no service %q", req.Service))
	case ready(ctx):
		return &grpchealth.CheckResponse{Status: grpchealth.StatusServing}, nil
	default:
		return &grpchealth.CheckResponse{Status: grpchealth.StatusNotServing}, nil
	}
}

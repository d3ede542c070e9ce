package server

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/snakepit-go/snakepit"
	snakepitv1 "github.com/snakepit-go/snakepit/api/snakepit/v1"
)

type poolService struct{ engine *snakepit.Engine }

func (s *poolService) ListPools(context.Context, *connect.Request[snakepitv1.ListPoolsRequest]) (*connect.Response[snakepitv1.ListPoolsResponse], error) {
	res := &snakepitv1.ListPoolsResponse{}
	for _, p := range s.engine.Pools() {
		res.Pools = append(res.Pools, &snakepitv1.Pool{
			Name: p.Name, Size: int32(p.Size), Ready: int32(p.Ready), Busy: int32(p.Busy), Queued: int32(p.Queued),
			Calls: p.Calls, Restarts: p.Restarts, Transport: p.Transport,
		})
	}
	return connect.NewResponse(res), nil
}

func (s *poolService) ListWorkers(_ context.Context, req *connect.Request[snakepitv1.ListWorkersRequest]) (*connect.Response[snakepitv1.ListWorkersResponse], error) {
	workers, err := s.engine.Workers(req.Msg.GetPool())
	if err != nil {
		return nil, err
	}
	res := &snakepitv1.ListWorkersResponse{}
	for _, w := range workers {
		m := &snakepitv1.Worker{
			Pool: w.Pool, Id: w.ID, Generation: w.Generation, Pid: int32(w.PID), State: w.State, Sessions: int32(w.Sessions),
			Calls: w.Calls, Runtime: w.Runtime, LastExit: w.LastExit,
		}
		if !w.Started.IsZero() {
			m.Started = timestamppb.New(w.Started)
		}
		res.Workers = append(res.Workers, m)
	}
	return connect.NewResponse(res), nil
}

func (s *poolService) ListTools(_ context.Context, req *connect.Request[snakepitv1.ListToolsRequest]) (*connect.Response[snakepitv1.ListToolsResponse], error) {
	var pools []string
	if name := req.Msg.GetPool(); name != "" {
		pools = []string{name}
	} else {
		for _, p := range s.engine.Pools() {
			pools = append(pools, p.Name)
		}
	}
	res := &snakepitv1.ListToolsResponse{}
	for _, pool := range pools {
		tools, err := s.engine.Tools(pool)
		if err != nil {
			return nil, err
		}
		for _, t := range tools {
			res.Tools = append(res.Tools, &snakepitv1.Tool{
				Pool: pool, Name: t.Name, Doc: t.Doc, Parameters: t.Parameters,
				ReadOnly: t.ReadOnly, Idempotent: t.Idempotent, Streams: t.Streams, Session: t.Session,
			})
		}
	}
	return connect.NewResponse(res), nil
}

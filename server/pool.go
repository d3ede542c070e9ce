package server

import (
	"context"
	"slices"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/snakepit-go/snakepit"
	snakepitv1 "github.com/snakepit-go/snakepit/api/snakepit/v1"
	"github.com/snakepit-go/snakepit/session"
)

type poolService struct{ engine *snakepit.Engine }

func (s *poolService) ListPools(context.Context, *connect.Request[snakepitv1.ListPoolsRequest]) (*connect.Response[snakepitv1.ListPoolsResponse], error) {
	res := &snakepitv1.ListPoolsResponse{}
	for _, p := range s.engine.Pools() {
		res.Pools = append(res.Pools, &snakepitv1.Pool{
			Name: p.Name, Size: int32(p.Size), Ready: int32(p.Ready), Busy: int32(p.Busy), Queued: int32(p.Queued),
			AwaitingTurn: int32(p.AwaitingTurn),
			Calls:        p.Calls, Restarts: p.Restarts, Transport: p.Transport,
		})
	}
	return connect.NewResponse(res), nil
}

func (s *poolService) ListWorkers(_ context.Context, req *connect.Request[snakepitv1.ListWorkersRequest]) (*connect.Response[snakepitv1.ListWorkersResponse], error) {
	workers, err := s.engine.Workers(req.Msg.GetPool())
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&snakepitv1.ListWorkersResponse{Workers: workerMessages(workers)}), nil
}

func workerMessages(workers []snakepit.WorkerInfo) []*snakepitv1.Worker {
	messages := make([]*snakepitv1.Worker, len(workers))
	for i, w := range workers {
		messages[i] = &snakepitv1.Worker{
			Pool: w.Pool, Id: w.ID, Generation: w.Generation, Pid: int32(w.PID), State: w.State, Sessions: int32(w.Sessions),
			Calls: w.Calls, Runtime: w.Runtime, LastExit: w.LastExit,
		}
		if !w.Started.IsZero() {
			messages[i].Started = timestamppb.New(w.Started)
		}
	}
	return messages
}

func (s *poolService) RestartWorkers(ctx context.Context, req *connect.Request[snakepitv1.RestartWorkersRequest]) (*connect.Response[snakepitv1.RestartWorkersResponse], error) {
	id, pool, all := req.Msg.GetWorker(), req.Msg.GetPool(), req.Msg.GetAll()
	var err error
	switch {
	case id != "" && pool == "" && !all:
		err = s.engine.RestartWorker(ctx, id)
	case id == "" && (pool != "") != all:
		err = s.engine.RestartWorkers(ctx, pool)
	default:
		err = &session.InvalidError{Field: "worker, pool, all", Reason: "name a worker, or a pool, or set all: one of the three"}
	}
	if err != nil {
		return nil, err
	}
	workers, err := s.engine.Workers(pool)
	if err != nil {
		return nil, err
	}
	if id != "" {
		workers = slices.DeleteFunc(workers, func(w snakepit.WorkerInfo) bool { return w.ID != id })
	}
	return connect.NewResponse(&snakepitv1.RestartWorkersResponse{Workers: workerMessages(workers)}), nil
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
				ReadOnly: t.ReadOnly, Idempotent: t.Idempotent, Streams: t.Streams, Session: t.Session, OnConflict: string(t.OnConflict),
			})
		}
	}
	return connect.NewResponse(res), nil
}

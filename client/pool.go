package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"connectrpc.com/connect"

	snakepitv1 "github.com/snakepit-go/snakepit/api/snakepit/v1"
)

// Pool describes a pool of workers.
type Pool struct {
	Name   string `json:"name"`
	Size   int    `json:"size"`
	Ready  int    `json:"ready"`
	Busy   int    `json:"busy"`
	Queued int    `json:"queued"`
	// AwaitingTurn of those queued wait for the turn of their session, the
	// others for a worker.
	AwaitingTurn int    `json:"awaiting_turn"`
	Calls        uint64 `json:"calls"`
	Restarts     uint64 `json:"restarts"`
	Transport    string `json:"transport"`
}

// Worker describes a place in a pool and the worker in it.
type Worker struct {
	Pool       string    `json:"pool"`
	ID         string    `json:"id"`
	Generation uint64    `json:"generation"`
	PID        int       `json:"pid"`
	State      string    `json:"state"`
	Sessions   int       `json:"sessions"`
	Calls      uint64    `json:"calls"`
	Runtime    string    `json:"runtime,omitempty"`
	Started    time.Time `json:"started,omitzero"`
	LastExit   string    `json:"last_exit,omitempty"`
}

// Tool describes a tool of a pool.
type Tool struct {
	Pool       string          `json:"pool"`
	Name       string          `json:"name"`
	Doc        string          `json:"doc,omitempty"`
	Parameters json.RawMessage `json:"parameters,omitempty"`
	ReadOnly   bool            `json:"readonly,omitempty"`
	Idempotent bool            `json:"idempotent,omitempty"`
	OnConflict string          `json:"on_conflict,omitempty"`
	Streams    bool            `json:"streams,omitempty"`
	Session    bool            `json:"session,omitempty"`
}

// Pools lists the pools, the default one first.
func (c *Client) Pools(ctx context.Context) ([]Pool, error) {
	res, err := c.pools.ListPools(ctx, connect.NewRequest(&snakepitv1.ListPoolsRequest{}))
	if err != nil {
		return nil, err
	}
	pools := make([]Pool, len(res.Msg.GetPools()))
	for i, m := range res.Msg.GetPools() {
		pools[i] = Pool{
			Name: m.GetName(), Size: int(m.GetSize()), Ready: int(m.GetReady()), Busy: int(m.GetBusy()), Queued: int(m.GetQueued()),
			AwaitingTurn: int(m.GetAwaitingTurn()),
			Calls:        m.GetCalls(), Restarts: m.GetRestarts(), Transport: m.GetTransport(),
		}
	}
	return pools, nil
}

// Workers lists the workers of a pool, or of all if pool is empty.
func (c *Client) Workers(ctx context.Context, pool string) ([]Worker, error) {
	res, err := c.pools.ListWorkers(ctx, connect.NewRequest(&snakepitv1.ListWorkersRequest{Pool: pool}))
	if err != nil {
		return nil, err
	}
	return workersOf(res.Msg.GetWorkers()), nil
}

// RestartWorker replaces a worker by a new one, which loads the tools anew, and
// returns it when it is ready. The call that the old one runs ends first.
func (c *Client) RestartWorker(ctx context.Context, id string) (Worker, error) {
	workers, err := c.restart(ctx, &snakepitv1.RestartWorkersRequest{Worker: id})
	if err != nil || len(workers) == 0 {
		return Worker{}, err
	}
	return workers[0], nil
}

// RestartWorkers restarts all workers of a pool, or of all pools if pool is
// empty: one after another, and no more of a pool once one cannot be started.
func (c *Client) RestartWorkers(ctx context.Context, pool string) ([]Worker, error) {
	return c.restart(ctx, &snakepitv1.RestartWorkersRequest{Pool: pool, All: pool == ""})
}

func (c *Client) restart(ctx context.Context, req *snakepitv1.RestartWorkersRequest) ([]Worker, error) {
	res, err := c.pools.RestartWorkers(ctx, connect.NewRequest(req))
	if err != nil {
		return nil, err
	}
	return workersOf(res.Msg.GetWorkers()), nil
}

func workersOf(messages []*snakepitv1.Worker) []Worker {
	workers := make([]Worker, len(messages))
	for i, m := range messages {
		workers[i] = Worker{
			Pool: m.GetPool(), ID: m.GetId(), Generation: m.GetGeneration(), PID: int(m.GetPid()), State: m.GetState(),
			Sessions: int(m.GetSessions()), Calls: m.GetCalls(), Runtime: m.GetRuntime(), LastExit: m.GetLastExit(),
		}
		if m.GetStarted() != nil {
			workers[i].Started = m.GetStarted().AsTime()
		}
	}
	return workers
}

// Tools lists the tools of a pool, or of all if pool is empty.
func (c *Client) Tools(ctx context.Context, pool string) ([]Tool, error) {
	res, err := c.pools.ListTools(ctx, connect.NewRequest(&snakepitv1.ListToolsRequest{Pool: pool}))
	if err != nil {
		return nil, err
	}
	tools := make([]Tool, len(res.Msg.GetTools()))
	for i, m := range res.Msg.GetTools() {
		tools[i] = Tool{
			Pool: m.GetPool(), Name: m.GetName(), Doc: m.GetDoc(), Parameters: m.GetParameters(),
			ReadOnly: m.GetReadOnly(), Idempotent: m.GetIdempotent(), OnConflict: m.GetOnConflict(), Streams: m.GetStreams(), Session: m.GetSession(),
		}
	}
	return tools, nil
}

// maxHealth bounds the answer of a health check.
const maxHealth = 1 << 20

// Health returns the JSON that a health endpoint such as "/health" answers, and
// whether it says that all is well.
func (c *Client) Health(ctx context.Context, path string) (body json.RawMessage, ok bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url+path, nil)
	if err != nil {
		return nil, false, fmt.Errorf("check %s: %w", path, err)
	}
	res, err := c.http.Do(req)
	if err != nil {
		if dial := dialError(err); dial != nil {
			err = (&interceptor{c.url}).unreachable(dial)
		}
		return nil, false, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err = io.ReadAll(io.LimitReader(res.Body, maxHealth))
	if err != nil {
		return nil, false, fmt.Errorf("check %s: %w", path, err)
	}
	ok = res.StatusCode == http.StatusOK
	var refusal struct{ Message string }
	switch answer := json.Unmarshal(body, &refusal); {
	case answer != nil:
		return nil, false, fmt.Errorf("check %s: %s answers %s and no JSON: it is no snakepit server, or has no such check", path, c.url, res.Status)
	case !ok && res.StatusCode != http.StatusServiceUnavailable: // which is what a check that fails answers
		return nil, false, fmt.Errorf("check %s: %s answers %s: %s", path, c.url, res.Status, refusal.Message)
	}
	return body, ok, nil
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/snakepit-go/snakepit"
)

func joined(errs ...error) error { return errors.Join(errs...) }

// engine is ours: a pool in this process.
type engine struct {
	*snakepit.Engine
	request json.RawMessage
}

func startEngine(ctx context.Context, at place) (system, error) {
	e, err := snakepit.Open(ctx, snakepit.Config{Pools: []snakepit.PoolConfig{{
		Tools: filepath.Join(at.dir, "function.py"), Interpreter: at.python, Workers: workers,
	}}})
	if err != nil {
		return nil, err
	}
	return &engine{e, json.RawMessage(at.request)}, nil
}

func (e *engine) run(ctx context.Context, callers int, length, kill time.Duration) (run, error) {
	return drive(ctx, e, func(ctx context.Context) error {
		result, err := e.Execute(ctx, "echo", e.request)
		if err != nil {
			return err
		}
		return parse(result.Value)
	}, callers, length, kill), nil
}

func (e *engine) processes() ([]int, int) {
	var ids []int
	for _, w := range e.Stats().Workers {
		if w.PID != 0 {
			ids = append(ids, w.PID)
		}
	}
	return ids, len(ids)
}

func (e *engine) close() error { return e.Close() }

// parse is what every caller does with its answer.
func parse(answer []byte) error {
	var v string
	return json.Unmarshal(answer, &v)
}

// bytesCodec leaves messages as they are: JSON text, as for the other peers.
type bytesCodec struct{}

func (bytesCodec) Marshal(v any) ([]byte, error)   { return *v.(*[]byte), nil }
func (bytesCodec) Unmarshal(b []byte, v any) error { *v.(*[]byte) = bytes.Clone(b); return nil }
func (bytesCodec) Name() string                    { return "bytes" }

func dial(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(bytesCodec{})))
}

func startUnary(ctx context.Context, at place) (system, error) {
	return startServers(ctx, at, "grpc_server.py", func(_ context.Context, address string) (func(context.Context) error, func() error, error) {
		conn, err := dial(address)
		if err != nil {
			return nil, nil, err
		}
		request := []byte(at.request)
		return func(ctx context.Context) error {
			var answer []byte
			if err := conn.Invoke(ctx, "/peers.Echo/Unary", &request, &answer); err != nil {
				return err
			}
			return parse(answer)
		}, conn.Close, nil
	})
}

func startStream(ctx context.Context, at place) (system, error) {
	return startServers(ctx, at, "grpc_server.py", func(ctx context.Context, address string) (func(context.Context) error, func() error, error) {
		conn, err := dial(address)
		if err != nil {
			return nil, nil, err
		}
		stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/peers.Echo/Stream", grpc.WaitForReady(true))
		if err != nil {
			return nil, nil, errors.Join(err, conn.Close())
		}
		request := []byte(at.request)
		return func(context.Context) error {
			if err := stream.SendMsg(&request); err != nil {
				return err
			}
			var answer []byte
			if err := stream.RecvMsg(&answer); err != nil {
				return err
			}
			return parse(answer)
		}, conn.Close, nil
	})
}

func startHTTP(ctx context.Context, at place) (system, error) {
	return startServers(ctx, at, "http_server.py", func(_ context.Context, address string) (func(context.Context) error, func() error, error) {
		transport := &http.Transport{MaxIdleConnsPerHost: 1}
		client := &http.Client{Transport: transport}
		call := func(ctx context.Context) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/", bytes.NewReader([]byte(at.request)))
			if err != nil {
				return err
			}
			res, err := client.Do(req)
			if err != nil {
				return err
			}
			defer res.Body.Close()
			answer, err := io.ReadAll(res.Body)
			if err != nil {
				return err
			}
			return parse(answer)
		}
		// uvicorn says its port before it listens.
		for deadline := time.Now().Add(10 * time.Second); ; {
			err := call(ctx)
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return nil, nil, err
			}
			time.Sleep(10 * time.Millisecond)
		}
		return call, func() error { transport.CloseIdleConnections(); return nil }, nil
	})
}

// pool is multiprocessing.Pool, driven by a Python program of its own.
type pool struct {
	server *child
	ids    []int // of the workers
}

func startPool(ctx context.Context, at place) (system, error) {
	server, err := startChild(ctx, at, "pool_server.py")
	if err != nil {
		return nil, err
	}
	p := &pool{server: server}
	if _, err := p.ask(map[string]any{"workers": workers, "request": at.request}); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

type poolAnswer struct {
	Times  []time.Duration `json:"times"`
	Failed int             `json:"failed"`
	PIDs   []int           `json:"pids"`
}

func (p *pool) ask(command any) (*poolAnswer, error) {
	if err := json.NewEncoder(p.server.in).Encode(command); err != nil {
		return nil, err
	}
	line, err := p.server.out.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("read the pool's answer: %w", err)
	}
	var answer poolAnswer
	if err := json.Unmarshal(line, &answer); err != nil {
		return nil, err
	}
	p.ids = answer.PIDs
	return &answer, nil
}

func (p *pool) run(_ context.Context, callers int, length, kill time.Duration) (run, error) {
	answer, err := p.ask(map[string]any{"callers": callers, "seconds": length.Seconds(), "kill_after": kill.Seconds()})
	if err != nil {
		return run{}, err
	}
	return run{answer.Times, answer.Failed}, nil
}

func (p *pool) processes() ([]int, int) {
	return append(p.ids[:len(p.ids):len(p.ids)], p.server.cmd.Process.Pid), len(p.ids)
}

func (p *pool) close() error {
	p.server.end()
	return nil
}
